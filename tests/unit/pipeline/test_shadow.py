from typing import Any

import pytest

from gateway.denial import Denial, Reason
from gateway.guards import Verdict, judge
from gateway.model import ToolCall
from gateway.pipeline.shadow import Shadow, difference
from gateway.policy.plans.arguments import compile_arguments
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from tests.unit.made_up import BUDGETS, NOON, a_call, a_charge, a_plan

ALLOWED = Verdict(None, None)
REFUSED = Verdict(Denial(Reason.TOOL_NOT_ALLOWED, "No."), None)
SCHEMA, _ = compile_arguments({"type": "object", "required": ["q"]})


class Streaming:
    """A body that passes piece by piece."""

    length: int | None = 100_000
    started = False
    size = 0

    def __aiter__(self) -> Any:
        raise AssertionError("nobody reads a body to compare policies")

    def hexdigest(self) -> str:
        return ""


def told(plan: Plan, verdict: Verdict = ALLOWED, call: ToolCall | None = None, **shadow: Any) -> str:
    """What the record says of the candidate; `canary=True`: `plan` is the live policy's."""
    call = a_call() if call is None else call
    other = Shadow(**{"canary": False, "tool": call.tool, "plan": plan, **shadow})
    return difference(other, call, verdict, Counts(100))


def test_two_policies_that_decide_alike_are_the_same() -> None:
    assert told(a_plan()) == "same"
    assert told(a_plan(allowed=False), REFUSED) == "same"
    assert told(a_plan(upstream=None), REFUSED) == "same", "whatever each of them refuses it for"


def test_what_the_candidate_alone_would_refuse_is_told_with_its_reason() -> None:
    assert told(a_plan(allowed=False)) == "would_deny:tool_not_allowed"
    assert told(a_plan(upstream=None)) == "would_deny:tool_not_configured"
    assert told(a_plan(arguments=SCHEMA), call=a_call(arguments={})) == "would_deny:arguments_not_allowed"
    assert told(a_plan(arguments=SCHEMA), call=a_call(malformed="the body is not JSON")) == "would_deny:invalid_request"
    assert told(a_plan(max_request_bytes=3), call=a_call(body=b"1234")) == "would_deny:request_too_large"
    assert (
        told(a_plan(max_request_bytes=3), call=a_call(body=Streaming()), length=100_000)
        == "would_deny:request_too_large"
    )
    assert told(a_plan(), denial=Denial(Reason.INVALID_REQUEST, "Not here.")) == "would_deny:invalid_request"


def test_what_the_candidate_alone_would_let_pass_is_told_with_the_policys_reason() -> None:
    assert told(a_plan(), REFUSED) == "would_allow:tool_not_allowed"


def test_report_mode_compares_what_would_have_been_refused() -> None:
    assert told(a_plan(report=True, allowed=False)) == "would_deny:tool_not_allowed"
    assert told(a_plan(report=True, allowed=False), Verdict(None, Reason.TOOL_NOT_ALLOWED)) == "same"


def test_arguments_that_are_not_held_cannot_be_judged() -> None:
    assert told(a_plan(arguments=SCHEMA), call=a_call(body=Streaming())) == "unknown"
    assert told(a_plan(), call=a_call(body=Streaming())) == "same"


def test_of_a_canarys_calls_only_denials_are_held_against_the_policy() -> None:
    assert told(a_plan(allowed=False), canary=True) == "canary"
    assert told(a_plan(), REFUSED, canary=True) == "denied:tool_not_allowed"
    assert told(a_plan(allowed=False), REFUSED, canary=True) == "canary"
    assert told(a_plan(arguments=SCHEMA), REFUSED, call=a_call(body=Streaming()), canary=True) == "canary"


def test_a_call_refused_before_its_body_was_read_is_not_judged_by_it() -> None:
    other = Shadow(canary=True, tool="search.read", plan=a_plan(arguments=SCHEMA, max_request_bytes=10), length=5)
    assert difference(other, a_call(body=b""), REFUSED, Counts(1), was_read=False) == "denied:tool_not_allowed"
    assert difference(other._replace(length=11), a_call(body=b""), REFUSED, Counts(1), was_read=False) == "canary"


@pytest.mark.parametrize(
    "plan",
    [
        a_plan(),
        a_plan(allowed=False),
        a_plan(max_calls=1, max_identical_calls=1, cost=100),
        a_plan(budgets=BUDGETS.__class__(1, 1, 1, 1)),
    ],
)
def test_comparing_charges_nothing_and_keeps_nothing(plan: Plan) -> None:
    counts, call = Counts(100), a_call(args_hash="ab" * 32)
    counts.ledger.reserve(a_charge(args_hash=call.args_hash), BUDGETS)
    before = judge(call, a_plan(), counts, NOON), counts.ledger.remaining(call.run, BUDGETS, NOON), counts.ledger.live
    for _ in range(3):
        difference(Shadow(False, call.tool, plan), call, ALLOWED, counts)
        difference(Shadow(False, call.tool, plan), a_call("another"), ALLOWED, counts)
    after = judge(call, a_plan(), counts, NOON), counts.ledger.remaining(call.run, BUDGETS, NOON), counts.ledger.live
    assert after == before
    assert [run.key for run in counts.ledger.runs()] == [call.run]
