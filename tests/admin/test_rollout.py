"""How a candidate fares and its end by hand, through the admin API."""

import json
from pathlib import Path

import pytest

from gateway.state.rollout import is_chosen
from tests.admin.admin_plane import POLICY, Operator, started

CANARY = next(f"r{n}" for n in range(100) if is_chosen("default", f"r{n}", 50))
LIVE = next(f"r{n}" for n in range(100) if not is_chosen("default", f"r{n}", 50))
CANDIDATE = {"runs": {"anonymous": "deny"}, "egress": {"allow_hosts": ["a.example"]}}
WARNED = "egress.allow_hosts: no allowlist names a tool that goes there (http.get, http.connect, …), so nobody does"
REACH = "this instance; survives a restart as long as its state volume does"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a candidate on half of the runs."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(POLICY + "rollout: {canary_percent: 50}\n")
    (policies / "candidate.yaml").write_text(json.dumps(CANDIDATE))
    return tmp_path


async def degraded(operator: Operator) -> object:
    return (await operator.get("/readyz", headers={}))["degraded"]


async def test_without_a_candidate_there_is_nothing_to_tell_or_to_end(operator: Operator) -> None:
    body = await operator.get("/v1/rollout")
    assert (body["state"], body["candidate"], body["rolled_back"], body["differences"]) == ("none", None, None, {})
    refused = await operator.post("/v1/rollout", {"action": "rollback", "reason": "x"}, 404)
    assert refused["detail"] == "No candidate to roll back: candidate.yaml is not on trial."


async def test_both_sides_are_told_with_their_figures_and_differences(folder: Path) -> None:
    async with started(folder) as operator:
        for path in (f"/runs/{CANARY}/tools/search.read", f"/runs/{LIVE}/tools/search.read", f"/runs/{LIVE}/tools/x"):
            await operator.call(path, 403 if path.endswith("x") else 502)
        body = await operator.get("/v1/rollout")
        policies = operator.gateway.policies
        assert policies.candidate is not None
        version = policies.candidate.snapshot.version
        candidate, live = body["candidate"], body["live"]
        assert isinstance(candidate, dict)
        assert candidate | {"since": ""} == {
            "version": version,
            "since": "",
            "calls": 1,
            "errors": 1,
            "error_share": 1.0,
            "changes": ["runs.anonymous", "egress.allow_hosts"],
            "warnings": [WARNED],
        }
        assert live == {"version": policies.snapshot.version, "calls": 1, "errors": 1, "error_share": 1.0}
        assert (body["state"], body["differences"]) == ("canary", {"same": 2, "canary": 1})
        settings = ("canary_percent", "rollback_on_error_rate", "min_calls", "count_denials", "window_seconds")
        assert [body[name] for name in settings] == [50, 0.05, 50, True, 300]
        assert [event["action"] for event in operator.seen.of("rollout")] == ["started"]
        assert operator.seen.of("rollout")[0]["changes"] == ["runs.anonymous", "egress.allow_hosts"]


async def test_a_rollback_holds_when_it_is_answered_and_after_a_restart_until_the_content_changes(folder: Path) -> None:
    async with started(folder) as operator:
        body = await operator.post("/v1/rollout", {"action": "rollback", "reason": "tickets close twice", "who": "ada"})
        assert (body["state"], body["reach"]) == ("rolled_back", REACH)
        back = body["rolled_back"]
        assert isinstance(back, dict)
        assert (back["reason"], back["who"]) == ("tickets close twice", "ada")
        assert (await operator.call(f"/runs/{CANARY}/tools/search.read", 502))[
            "policy"
        ] == operator.gateway.policies.snapshot.version
        assert await degraded(operator) == ["candidate_rolled_back"]
        again = await operator.post("/v1/rollout", {"action": "rollback", "reason": "x"}, 404)
        assert again["detail"] == "No candidate to roll back: candidate.yaml is rolled back already."
        told = operator.seen.of("rollout")
        assert [event["action"] for event in told] == ["started", "rolled_back"]
        assert (told[1]["reason"], told[1]["who"], told[1]["live_calls"]) == ("tickets close twice", "ada", 0)
    async with started(folder) as operator:
        after = await operator.get("/v1/rollout")
        assert (after["state"], after["rolled_back"]) == ("rolled_back", back)
        assert await degraded(operator) == ["candidate_rolled_back"]
        assert operator.seen.of("rollout") == []
        file = operator.policy / "candidate.yaml"
        file.write_text(file.read_text() + "\n# once more\n")
        await operator.post("/v1/policy/reload")
        assert (await operator.get("/v1/rollout"))["state"] == "canary"
        assert await degraded(operator) == []


async def test_a_candidate_that_is_refused_says_why(folder: Path) -> None:
    (folder / "policies" / "candidate.yaml").write_text("mode: report\n")
    async with started(folder) as operator:
        body = await operator.get("/v1/rollout")
        assert (body["state"], body["candidate"]) == ("refused", None)
        assert str(body["problems"]).startswith("['candidate.yaml:1:1 mode: stays as in policy.yaml")


async def test_at_0_percent_its_state_is_shadow(folder: Path) -> None:
    (folder / "policies" / "policy.yaml").write_text(POLICY + "rollout: {canary_percent: 0}\n")
    async with started(folder) as operator:
        assert (await operator.get("/v1/rollout"))["state"] == "shadow"


async def test_a_disk_that_fails_is_told_and_the_rollback_holds_all_the_same(folder: Path) -> None:
    async with started(folder) as operator:
        operator.gateway.keeper._store.close()
        body = await operator.post("/v1/rollout", {"action": "rollback", "reason": "drill"})
        assert body["state"] == "rolled_back"
        assert "TRIED AGAIN after a restart" in str(body["reach"])


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"action": "promote", "reason": "x"}, "action: expected rollback. Promotion is replacing policy.yaml."),
        ({"action": "rollback"}, "reason: expected one line of 1 to 500 characters."),
        ({"reason": "x"}, "action: expected one line of 1 to 20 characters."),
        (
            {"action": "rollback", "reason": "x", "percent": 3},
            "The body has an unknown member; known are action, reason, who.",
        ),
    ],
)
async def test_a_request_that_is_not_understood_changes_nothing(folder: Path, body: object, detail: str) -> None:
    async with started(folder) as operator:
        assert (await operator.post("/v1/rollout", body, 400))["detail"] == detail
        assert (await operator.get("/v1/rollout"))["state"] == "canary"
