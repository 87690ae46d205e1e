"""Kill and restore through the admin API, seen from the agent's side."""

from pathlib import Path

import pytest

from tests.admin.admin_plane import Operator, started

REACH = "this instance; survives a restart as long as its state volume does"


def scopes(body: dict[str, object], name: str = "kill_switches") -> list[str]:
    found = body[name]
    assert isinstance(found, list)
    return [switch["scope"] for switch in found]


async def test_a_kill_is_in_effect_when_it_is_answered_and_says_what_it_reaches(operator: Operator) -> None:
    body = await operator.post("/v1/kill-switches", {"scope": "writes", "reason": "wiki under attack"})
    assert body["reach"] == REACH
    assert str(body["says"]).startswith("Stops every call of a tool that writes")
    refused = await operator.call("/tools/notes.write", 403)
    assert refused["reason"] == "kill_switch"
    assert "wiki under attack" in str(refused["detail"])
    assert (await operator.call("/tools/search.read", 502))["reason"] == "upstream_failed"
    assert scopes(await operator.get("/v1/kill-switches")) == ["writes"]


async def test_a_restore_lifts_it_and_names_what_is_still_on(operator: Operator) -> None:
    for scope in ("writes", "tool:lost.*"):
        await operator.post("/v1/kill-switches", {"scope": scope, "reason": "drill"})
    body = await operator.delete("/v1/kill-switches/writes")
    assert (body["lifted"], body["reach"], scopes(body, "still_on")) == ("writes", REACH, ["tool:lost.*"])
    assert (await operator.call("/tools/notes.write", 502))["reason"] == "upstream_failed"


@pytest.mark.parametrize("scope", ["all", "tool:shell.*", "tool:*", "agent:default", "run:r1", "run:default/r1"])
async def test_every_scope_is_set_and_lifted_by_its_name_in_the_path(operator: Operator, scope: str) -> None:
    await operator.post("/v1/kill-switches", {"scope": scope, "reason": "drill"})
    assert scopes(await operator.get("/v1/kill-switches")) == [scope]
    await operator.delete(f"/v1/kill-switches/{scope}")
    assert scopes(await operator.get("/v1/kill-switches")) == []


async def test_a_switch_survives_a_restart_and_so_does_its_lifting(tmp_path: Path) -> None:
    async with started(tmp_path) as operator:
        await operator.post("/v1/kill-switches", {"scope": "all", "reason": "drill", "who": "ada", "for_seconds": 3600})
        before = await operator.get("/v1/kill-switches")
    async with started(tmp_path) as operator:
        assert await operator.get("/v1/kill-switches") == before
        assert [event["kill_switches"] for event in operator.seen.of("gateway_started")] == [["all"]]
        await operator.delete("/v1/kill-switches/all")
    async with started(tmp_path) as operator:
        assert scopes(await operator.get("/v1/kill-switches")) == []


async def test_memory_says_that_a_restart_loses_it(tmp_path: Path) -> None:
    async with started(tmp_path, GATEWAY_STATE="memory:") as operator:
        body = await operator.post("/v1/kill-switches", {"scope": "all", "reason": "drill"})
    assert body["reach"] == "this instance; lost at a restart"


async def test_what_a_file_holds_no_restore_lifts(tmp_path: Path) -> None:
    async with started(tmp_path) as operator:
        (operator.policy / "kill_switch.yaml").write_text("disable_writes: true\nreason: freeze\n")
        await operator.post("/v1/policy/reload")
        await operator.post("/v1/kill-switches", {"scope": "writes", "reason": "drill"})
        body = await operator.delete("/v1/kill-switches/writes", 409)
        assert body["detail"] == (
            "The switch set at run time is lifted, but writes is still stopped by kill_switch.yaml: remove it there."
        )
        held = body["held_by"]
        assert isinstance(held, list)
        assert [(switch["source"], switch["reason"]) for switch in held] == [("kill_switch.yaml", "freeze")]
        again = await operator.delete("/v1/kill-switches/writes", 409)
        assert again["detail"] == "writes is still stopped by kill_switch.yaml: remove it there."


async def test_lifting_what_is_not_on_tells_what_is(operator: Operator) -> None:
    assert (await operator.delete("/v1/kill-switches/all", 404))["detail"] == "No kill switch is on."
    await operator.post("/v1/kill-switches", {"scope": "writes", "reason": "drill"})
    body = await operator.delete("/v1/kill-switches/all", 404)
    assert body["detail"] == "No kill switch of this scope is on; on are: writes."


async def test_every_flip_is_an_event(operator: Operator) -> None:
    await operator.post("/v1/kill-switches", {"scope": "all", "reason": "drill", "who": "ada"})
    await operator.delete("/v1/kill-switches/all")
    flips = [
        (event["action"], event["scope"], event["reason"], event["who"]) for event in operator.seen.of("kill_switch")
    ]
    assert flips == [("on", "all", "drill", "ada"), ("off", "all", "drill", "ada")]


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"scope": "everything", "reason": "x"}, "not a scope: expected all, writes, tool:PATTERN, agent:ID, run:ID or run:AGENT/ID."),
        ({"scope": "all"}, "reason: expected one line of 1 to 500 characters."),
        ({"scope": "all", "reason": " "}, "reason: expected one line of 1 to 500 characters."),
        ({"scope": "all", "reason": "a\nb"}, "reason: expected one line of 1 to 500 characters."),
        ({"scope": 1, "reason": "x"}, "scope: expected one line of 1 to 300 characters."),
        ({"scope": "all", "reason": "x", "for_seconds": 0}, "for_seconds: expected a number of seconds above 0 and up to 31622400."),
        ({"scope": "all", "reason": "x", "for_seconds": True}, "for_seconds: expected a number of seconds above 0 and up to 31622400."),
        ({"scope": "all", "reason": "x", "cancel_in_flight": "yes"}, "cancel_in_flight: expected true or false."),
        (
            {"scope": "all", "reason": "x", "cancel": True},
            "The body has an unknown member; known are scope, reason, who, for_seconds, cancel_in_flight.",
        ),
        (["all"], "The body is not a JSON object."),
    ],
)  # fmt: skip
async def test_a_kill_that_is_not_understood_changes_nothing(operator: Operator, body: object, detail: str) -> None:
    assert (await operator.post("/v1/kill-switches", body, 400))["detail"] == detail
    assert scopes(await operator.get("/v1/kill-switches")) == []


@pytest.mark.parametrize("raw", [b"", b"{", b'{"scope": NaN', b"[" * 60_000, b"\xff\xfe"])
async def test_a_body_that_is_no_json_is_refused(operator: Operator, raw: bytes) -> None:
    assert (await operator.post_raw("/v1/kill-switches", raw, 400))["detail"] == "The body is not JSON."


async def test_an_order_that_says_something_twice_is_none(operator: Operator) -> None:
    order = b'{"scope": "all", "scope": "agent:nobody", "reason": "x"}'
    assert (await operator.post_raw("/v1/kill-switches", order, 400))["detail"] == "The body has a member twice."
    assert (await operator.get("/v1/kill-switches"))["kill_switches"] == []


async def test_a_large_body_is_refused(operator: Operator) -> None:
    body = await operator.post_raw("/v1/kill-switches", b" " * (64 * 1024 + 1), 413)
    assert body["detail"] == "The body is larger than 65536 bytes."


async def test_a_disk_that_fails_is_told_and_the_stop_holds_all_the_same(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator.gateway.keeper._store.close()
    body = await operator.post("/v1/kill-switches", {"scope": "all", "reason": "drill"})
    assert "LOST at a restart" in str(body["reach"])
    assert (await operator.call("/tools/search.read", 403))["reason"] == "kill_switch"
    ready = await operator.get("/readyz", 200, headers={})
    assert ready["degraded"] == ["state_unavailable", "kill_switch"]
