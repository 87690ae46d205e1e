"""How much a kill switch would stop just now: what an operator is told before it hurts. Nothing is changed."""

from gateway.admin import answers
from gateway.admin.views import blast_radius
from gateway.guards.kill_switch import objection
from gateway.model import KillSwitch, Moment, RunKey, Scope
from gateway.state.counts import Counts
from gateway.state.switches import Switches, parse_scope


def foreseen(scope: str, counts: Counts, now: Moment, *, cancel_in_flight: bool) -> answers.BlastRadius:
    """Raises ValueError where `scope` is none."""
    wanted = parse_scope(scope)
    switch = KillSwitch(wanted, "", "", now.wall, cancel_in_flight=cancel_in_flight)
    calls = counts.in_flight.found(objection(Switches([switch]), now))
    waiting = sum(call.waiting for call in calls)
    return {
        "scope": str(wanted),
        "says": blast_radius(wanted, cancel_in_flight=cancel_in_flight),
        "runs_in_progress": _runs(wanted, counts),
        "calls_in_flight": len(calls),
        "calls_that_end_now": len(calls) if cancel_in_flight else waiting,
    }


def _runs(scope: Scope, counts: Counts) -> int:
    """Live ones whose calls it can stop; anonymous windows count, except where a run is named."""
    if scope.kind not in ("agent", "run"):
        return counts.ledger.live
    return sum(run.ended is None and _reaches(scope, run.key) for run in counts.ledger.runs())


def _reaches(scope: Scope, key: RunKey) -> bool:
    if scope.kind == "agent":
        return key.agent == scope.value
    agent, slash, run = scope.value.rpartition("/")
    return key.id == run and (not slash or key.agent == agent)
