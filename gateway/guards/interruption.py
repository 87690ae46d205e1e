"""What a new stop means for calls that the guards have already let pass: which of them end now?"""

from collections.abc import Iterable

from gateway.denial import Denial
from gateway.guards.kill_switch import objection
from gateway.guards.run import stopped_by_operator
from gateway.model import Effect, KillSwitch, Moment, RunKey, ToolCall
from gateway.state.counts import Counts
from gateway.state.switches import Switches


def interrupt_killed(counts: Counts, added: Iterable[KillSwitch], now: Moment) -> None:
    """After switches came: stops the calls that wait, and with `cancel_in_flight` those at work, streams included."""
    counts.in_flight.interrupt(objection(counts.switches, now), cancel_in_flight=False)
    cutting = Switches(switch for switch in added if switch.cancel_in_flight)
    counts.in_flight.interrupt(objection(cutting, now), cancel_in_flight=True)


def interrupt_run(counts: Counts, key: RunKey, *, cancel_in_flight: bool) -> None:
    """After an operator stopped one run."""

    def objects(call: ToolCall, effect: Effect) -> Denial | None:
        return stopped_by_operator() if call.run == key else None

    counts.in_flight.interrupt(objects, cancel_in_flight=cancel_in_flight)
