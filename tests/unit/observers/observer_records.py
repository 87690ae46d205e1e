"""Records and moments for the observers' tests, every field said once."""

from typing import Any

from gateway.denial import Reason
from gateway.model import Decision, Door, Effect, Moment, Record

PLAIN = Record(
    at=Moment(1000.0, 1_790_000_000.25),
    call_id="c-1",
    run_id="r-1",
    agent_id="default",
    trace_id=None,
    door=Door.TOOL_PATH,
    tool="search.read",
    effect=Effect.READ,
    args_hash="ab" * 32,
    decision=Decision.ALLOW,
    reason=Reason.OK,
    stop_reason=None,
    status=200,
    attempts=1,
    errors=(),
    duration_ms=12.3456,
    waited_ms=0.0,
    bytes_in=0,
    bytes_out=0,
    cost_micro_usd=1500,
    policy="feedbeefcafe",
)


def record(**changes: Any) -> Record:
    """A good call's record with the changes; the byte counts follow the payloads."""
    changes.setdefault("bytes_in", len(changes.get("args", b"")))
    changes.setdefault("bytes_out", len(changes.get("result", b"")))
    return PLAIN._replace(**changes)
