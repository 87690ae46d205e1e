from gateway.denial import Reason
from gateway.guards import GUARDS
from gateway.model import Remaining, Try
from gateway.observers.recent import Recent
from gateway.observers.story import DECIDED_BY
from tests.unit.observers.observer_records import record

GUARD_NAMES = {guard.__module__.rpartition(".")[2] for guard in GUARDS}
NO_GUARDS = {"upstream", "idempotency", "caller", "door", "state", "attempts", "gateway"}


def test_every_reason_has_somebody_who_decided_and_every_guard_is_named() -> None:
    assert DECIDED_BY.keys() == set(Reason)
    assert set(DECIDED_BY.values()) == GUARD_NAMES | NO_GUARDS


def told(**changes: object) -> dict[str, object]:
    recent = Recent()
    recent.call_ended(record(**changes))
    story = recent.call("c-1")
    assert story is not None
    return story


def test_a_call_with_one_attempt_waited_before_it_and_was_at_the_tool_after() -> None:
    story = told(duration_ms=30.0, waited_ms=10.0, remaining=Remaining(3, 20, None), rule="tools.allowlist")
    assert story["tries"] == [{"attempt": 1, "waited_ms": 10, "began_ms": 10, "took_ms": 20, "result": "status_200"}]
    assert story["remaining"] == {"tool_calls": 3, "steps": 20, "seconds": None}
    assert (story["decided_by"], story["rule"]) == ("upstream", "tools.allowlist")


def test_each_attempt_has_its_own_end_and_the_last_one_the_calls() -> None:
    tries = (Try(1.0, 20.0), Try(121.0, 30.0))
    two = told(attempts=2, errors=("status_503",), tries=tries, reason=Reason.KILL_SWITCH, detail="stopped", status=403)
    assert two["tries"] == [
        {"attempt": 1, "waited_ms": 1, "began_ms": 1, "took_ms": 20, "result": "status_503"},
        {"attempt": 2, "waited_ms": 100, "began_ms": 121, "took_ms": 30, "result": "kill_switch"},
    ]


def test_in_report_mode_the_rule_that_would_have_refused_is_told() -> None:
    assert told(report_reason=Reason.MAX_TOOL_CALLS)["decided_by"] == "tool_calls"
