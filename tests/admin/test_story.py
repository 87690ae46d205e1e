"""GET /v1/calls/{id}: who decided the call, each attempt with the wait before it, and what was left to its run."""

import pytest

from tests.admin.admin_plane import Operator


async def story(operator: Operator, answer: dict[str, object]) -> dict[str, object]:
    return await operator.get(f"/v1/calls/{answer['call_id']}")


async def test_a_refused_call_names_its_guard_and_made_no_attempt(operator: Operator) -> None:
    told = await story(operator, await operator.call("/runs/r1/tools/shell.run", 403))
    assert (told["decided_by"], told["rule"], told["tries"]) == ("allowlist", "no allowlist entry", [])
    remaining = told["remaining"]
    assert isinstance(remaining, dict)
    assert (set(remaining), remaining["tool_calls"]) == ({"tool_calls", "steps", "seconds"}, 12)


async def test_a_call_that_failed_tells_each_attempt_and_what_was_waited_before_it(operator: Operator) -> None:
    told = await story(operator, await operator.call("/runs/r1/tools/search.read", 502))
    tries = told["tries"]
    assert isinstance(tries, list)
    assert (told["decided_by"], told["upstream"], told["attempts"]) == ("attempts", "search", 3)
    assert [(one["attempt"], one["result"]) for one in tries] == [(number, "refused") for number in (1, 2, 3)]
    ends = [one["began_ms"] + one["took_ms"] for one in tries]
    waits = [one["waited_ms"] for one in tries[1:]]
    assert [one["began_ms"] for one in tries[1:]] == [
        pytest.approx(end + wait, abs=0.01) for end, wait in zip(ends, waits, strict=False)
    ]
    waited = told["waited_ms"]
    assert isinstance(waited, float)
    assert sum(waits) >= waited > 0


async def test_the_other_doors_of_a_killed_tool_say_so(operator: Operator) -> None:
    await operator.post("/v1/kill-switches", {"scope": "writes", "reason": "wrong tickets"})
    told = await story(operator, await operator.call("/tools/notes.write", 403))
    assert (told["decided_by"], told["reason"], told["status"]) == ("kill_switch", "kill_switch", 403)
    assert "wrong tickets" in str(told["detail"])
