"""The tool path door: /tools/{tool}[/rest][?query] → the tool's upstream URL + its path + rest + query."""

import re

from gateway.denial import Denial, Reason
from gateway.doors.arrival import Arrival
from gateway.doors.methods import check_method
from gateway.doors.refusal import Refusal
from gateway.model import Door
from gateway.policy.plans.tools import FETCHED
from gateway.policy.snapshot import Plan

TOOL_NAME = re.compile(r"(?=.{1,128}\Z)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")


def decode(arrival: Arrival) -> Plan:
    """Fills in tool, plan, rest and target. Raises Refusal."""
    name, slash, tail = arrival.path.removeprefix("/tools/").partition("/")
    if not arrival.path.startswith("/tools/") or not TOOL_NAME.fullmatch(name):
        detail = "A tool is called at /tools/NAME, where NAME is made of A-Z a-z 0-9 _ - with dots between (at most 128 characters)."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail))
    arrival.door = Door.TOOL_PATH
    arrival.tool = name
    plan = arrival.plan = arrival.snapshot.plan(arrival.agent, name)
    arrival.rest = slash + tail
    arrival.target = plan.path + arrival.rest + (f"?{arrival.query}" if arrival.query else "")
    if not plan.allowed and not plan.report:
        return plan  # the guards say so; a tool that is not allowed looks like one that does not exist
    if plan.upstream is not None and plan.upstream.mcp is not None:
        server = plan.upstream.name
        detail = f"{name} is a tool of the MCP server {server}: an MCP client calls it at /mcp/{server}, not here."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail))
    if plan.builtin and name not in FETCHED:
        detail = f"{name} is a request through the proxy (HTTP_PROXY, HTTPS_PROXY); only {' and '.join(sorted(FETCHED))} are called here."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail))
    check_method(arrival, plan.methods)
    if arrival.rest and not plan.takes_rest:
        detail = f"{name} is called at /tools/{name} exactly: its path takes no rest."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail))
    return plan
