"""May a message that uses no tool go to an MCP server? For the MCP door; not in GUARDS, which judge calls."""

from gateway.denial import Denial
from gateway.guards import draining, overloaded
from gateway.guards.kill_switch import killed
from gateway.model import Effect, Moment, RunKey
from gateway.state.counts import Counts


def judge_message(key: RunKey, counts: Counts, now: Moment) -> Denial | None:
    """What an operator stopped for everybody, this agent or this run, is stopped for messages too (SPEC 6)."""
    switch = counts.switches.stops(key.agent, key.id, "", Effect.READ, now)
    if switch is not None:
        return killed(switch)
    return draining.refusal(counts) or overloaded.no_place(counts)
