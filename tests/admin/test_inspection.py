"""What operators can look at: status, policy, runs, calls, upstreams, and why a call would be refused."""

from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.version import code
from tests.admin.admin_plane import POLICY, TOKEN, Operator, started


async def test_health_and_readiness_are_short(operator: Operator) -> None:
    health = await operator.get("/healthz", headers={})
    assert health["ok"] is True
    assert set(health) == {"ok", "version", "uptime_seconds"}
    ready = await operator.get("/readyz", headers={})
    assert ready == {"ready": True, "degraded": [], "mode": "enforce"}


@pytest.mark.parametrize("why", ["starting", "lame duck", "draining"])
async def test_a_gateway_that_takes_no_calls_is_not_ready_but_healthy(operator: Operator, why: str) -> None:
    operator.gateway.operations.unready = why
    async with operator.session.get(operator.gateway.admin_url + "/readyz") as response:
        assert response.status == 503
        assert await response.json() == {"ready": False, "degraded": [], "mode": "enforce", "why": why}
    await operator.get("/healthz", headers={})


async def test_a_broken_policy_is_degraded_not_unready_and_its_lines_are_told(operator: Operator) -> None:
    version = (await operator.get("/v1/policy"))["version"]
    (operator.policy / "policy.yaml").write_text("tools: {allowlst: []}\n")
    refused = await operator.post("/v1/policy/reload", status=422)
    lines = refused["problems"]
    assert isinstance(lines, list)
    assert len(lines) == 1
    assert lines[0].startswith("policy.yaml:1:9 tools.allowlst: ")
    assert (await operator.get("/readyz", headers={}))["degraded"] == ["policy_rejected"]
    policy = await operator.get("/v1/policy")
    assert (policy["version"], policy["rejected"]) == (version, lines)
    (operator.policy / "policy.yaml").write_text(POLICY)
    assert (await operator.post("/v1/policy/reload"))["ok"] is True
    assert (await operator.get("/readyz", headers={}))["degraded"] == []


async def test_a_reload_takes_a_new_policy_at_once(operator: Operator) -> None:
    (operator.policy / "policy.yaml").write_text(POLICY.replace('"notes.write", ', ""))
    body = await operator.post("/v1/policy/reload")
    assert (body["ok"], body["changed"]) == (True, True)
    assert (await operator.call("/tools/notes.write", 403))["reason"] == "tool_not_allowed"


async def test_a_policy_is_checked_without_being_taken(operator: Operator) -> None:
    version = (await operator.get("/v1/policy"))["version"]
    body = await operator.post_raw("/v1/policy/check", b"tools: {allowlist: [a.b]}\nmode: report\n")
    assert (body["ok"], body["problems"]) == (True, [])
    assert body["version"] not in (None, version)
    bad = await operator.post_raw("/v1/policy/check", b"tools: {allowlist: 3}\nx: 1\n")
    assert (bad["ok"], bad["version"]) == (False, None)
    assert isinstance(bad["problems"], list)
    assert len(bad["problems"]) == 2
    assert (await operator.get("/v1/policy"))["version"] == version


async def test_a_policy_beyond_8_mib_is_refused(operator: Operator) -> None:
    await operator.post_raw("/v1/policy/check", b"#" * ((8 << 20) + 1), 413)


async def test_no_answer_holds_an_injected_header_or_a_secret(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (folder / "policy.yaml").write_text(POLICY.replace("X-Team: tools", 'Authorization: "Bearer ${env:TOOLS_TOKEN}"'))
    async with started(tmp_path, TOOLS_TOKEN="hunter2-hunter2") as operator:
        for path in ("/v1/status", "/v1/policy", "/v1/upstreams", "/v1/explain?agent=default&tool=search.read"):
            text = str(await operator.get(path))
            assert "hunter2" not in text
            assert TOKEN not in text


async def test_status_is_the_whole_picture(operator: Operator) -> None:
    await operator.post("/v1/kill-switches", {"scope": "run:r9", "reason": "drill"})
    status = await operator.get("/v1/status")
    policy = status["policy"]
    assert isinstance(policy, dict)
    assert policy["version"] == operator.gateway.policies.snapshot.version
    assert policy["warnings"] == list(operator.gateway.policies.snapshot.warnings)
    assert policy["warnings"][0].startswith("lost.tool: allowed, but nothing performs it")
    assert status["listen"] == operator.gateway.data_url
    assert status["degraded"] == ["kill_switch"]
    assert (status["calls_in_flight"], status["max_in_flight"], status["runs_live"]) == (0, 1000, 0)
    assert status["queues"] == []
    assert status["code"] == code()
    assert (status["ready"], status["mode"], status["log_dropped"]) == (True, "enforce", {})


async def test_runs_are_listed_latest_first_with_what_they_have_left(operator: Operator) -> None:
    for run in ("r1", "r2"):
        await operator.call(f"/runs/{run}/tools/lost.tool", 403)
        await operator.call(f"/runs/{run}/tools/search.read", 502)
    body = await operator.get("/v1/runs")
    runs = body["runs"]
    assert isinstance(runs, list)
    assert [run["run_id"] for run in runs] == ["r2", "r1"]
    assert body["live"] == 2
    one = await operator.get("/v1/runs/default/r1")
    assert one["limits"] == {"tool_calls": 12, "steps": 25, "seconds": 60}
    latest = (await operator.get("/v1/runs?limit=1"))["runs"]
    assert isinstance(latest, list)
    assert [run["run_id"] for run in latest] == ["r2"]
    assert (await operator.get("/v1/runs?agent=nobody"))["runs"] == []
    assert (await operator.get("/v1/runs/default/none", 404))["detail"] == "The gateway remembers no such run."


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "٣", ""])
async def test_a_limit_is_a_small_number(operator: Operator, limit: str) -> None:
    assert (await operator.get(f"/v1/runs?limit={quote(limit)}", 400))[
        "detail"
    ] == "limit: expected an integer 1..1000."


async def test_a_stopped_run_takes_no_more_calls_and_its_end_is_told_once(operator: Operator) -> None:
    await operator.call("/runs/r1/tools/search.read", 502)
    stopped = await operator.post("/v1/runs/default/r1/stop")
    assert (stopped["stopped_now"], stopped["live"], stopped["stop_reason"]) == (True, False, "kill_switch")
    assert (await operator.post("/v1/runs/default/r1/stop"))["stopped_now"] is False
    refused = await operator.call("/runs/r1/tools/search.read", 403)
    assert (refused["reason"], refused["stop_reason"]) == ("kill_switch", "kill_switch")
    assert [event["run_id"] for event in operator.seen.of("run_finished")] == ["r1"]
    await operator.post("/v1/runs/default/r2/stop", status=404)


async def test_calls_are_told_without_arguments(operator: Operator) -> None:
    await operator.call("/runs/r1/tools/search.read", 502)
    refused = await operator.call("/runs/r1/tools/shell.run", 403)
    calls = (await operator.get("/v1/calls"))["calls"]
    assert isinstance(calls, list)
    assert [call["tool"] for call in calls] == ["shell.run", "search.read"]
    story = await operator.get(f"/v1/calls/{refused['call_id']}")
    assert {key: story[key] for key in calls[0]} == calls[0]
    assert calls[0]["reason"] == "tool_not_allowed"
    assert "args" not in calls[0]
    assert (await operator.get("/v1/calls?run=r2"))["calls"] == []
    await operator.get("/v1/calls/none", 404)


async def test_upstreams_tell_their_connections_by_name(operator: Operator) -> None:
    await operator.call("/runs/r1/tools/search.read", 502)
    upstreams = (await operator.get("/v1/upstreams"))["upstreams"]
    assert isinstance(upstreams, list)
    assert [(u["name"], u["url"], u["injected_headers"]) for u in upstreams] == [
        ("search", "http://127.0.0.1:9", ["X-Team"])
    ]
    assert all("upstream" not in upstream for upstream in upstreams)  # its name is there, once
    assert upstreams[0]["connections"] == 0


@pytest.mark.parametrize(
    ("query", "decision", "reason", "guard"),
    [
        ("agent=default&tool=search.read", "allow", None, None),
        ("agent=default&tool=search.read&args=%7B%7D", "deny", "arguments_not_allowed", "arguments"),
        ("agent=default&tool=search.read&args=%7B%22q%22:1%7D", "allow", None, None),
        ("agent=anyone&tool=shell.run", "deny", "tool_not_allowed", "allowlist"),
        ("agent=default&tool=lost.tool", "deny", "tool_not_configured", "configured"),
        ("agent=default&tool=search.read&run=r1", "deny", "kill_switch", "run"),
    ],
)
async def test_explain_names_the_rule_that_decides(
    operator: Operator, query: str, decision: str, reason: str | None, guard: str | None
) -> None:
    await operator.call("/runs/r1/tools/search.read", 502)
    await operator.post("/v1/runs/default/r1/stop")
    body = await operator.get(f"/v1/explain?{query}")
    assert (body["decision"], body["reason"], body["decided_by"]) == (decision, reason, guard)
    assert body["counts_known"] is True


async def test_explain_asks_for_what_it_needs(operator: Operator) -> None:
    assert "Give ?agent= and &tool=" in str((await operator.get("/v1/explain?agent=a", 400))["detail"])
    assert (await operator.get("/v1/explain?agent=a&tool=b&args=%7B", 400))["detail"] == "args is not JSON."
    args = quote('{"url": "ftp://x/"}')
    refused = await operator.get(f"/v1/explain?agent=a&tool=http.get&args={args}", 400)
    assert refused["detail"] == "The url in args is not taken: the URL's scheme is neither http nor https."
