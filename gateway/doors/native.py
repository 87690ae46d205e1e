"""The native path door: a path that a tool's route names goes on unchanged, so that an agent changes only its base URL."""

from urllib.parse import unquote

from gateway.denial import Denial, Reason
from gateway.doors.arrival import Arrival
from gateway.doors.methods import check_method
from gateway.doors.refusal import Refusal
from gateway.model import Door
from gateway.policy.snapshot import Plan


def decode(arrival: Arrival) -> Plan:
    """Fills in tool, plan and target. Raises Refusal. The path was checked before: decoding it cannot fail."""
    arrival.door = Door.NATIVE
    match = arrival.snapshot.route(arrival.request.method, unquote(arrival.path))
    if match is None:
        detail = (
            "No tool's route serves this method and path. Call a tool at /tools/NAME, or ask the operator for a route "
            "(tools.definitions.NAME.route)."
        )
        raise Refusal(Denial(Reason.TOOL_NOT_ALLOWED, detail))
    arrival.tool = match.tool
    plan = arrival.plan = arrival.snapshot.plan(arrival.agent, match.tool)
    arrival.rest = arrival.path
    arrival.target = arrival.path + (f"?{arrival.query}" if arrival.query else "")
    if plan.allowed or plan.report:
        check_method(arrival, match.methods)
    return plan
