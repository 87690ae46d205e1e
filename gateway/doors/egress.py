"""The egress door: what clients send out through the gateway as their HTTP proxy (RFC 9112, 3.2.2 and 3.2.3). Absolute form is relayed by
the gateway, CONNECT asks for a tunnel.
"""

from aiohttp.web_request import BaseRequest

from gateway.denial import Denial, Reason
from gateway.doors.arrival import Arrival
from gateway.doors.headers import TO_TARGETS, end_to_end
from gateway.doors.identity import DEFAULT_AGENT, carries_token, proxy_caller_of, proxy_unauthenticated, run_of
from gateway.doors.refusal import Refusal
from gateway.model import BodyStream, Door, Target, ToolCall
from gateway.policy.hosts import is_own
from gateway.policy.plans.tools import BUILT_IN, FETCHED
from gateway.policy.snapshot import Plan
from gateway.policy.targets import host_allowed, parse_target, parse_tunnel, written

CONNECT = "CONNECT"
CREDENTIALS = "Proxy-Authorization"
TAKEN = frozenset(name.removeprefix("http.").upper() for name in BUILT_IN)
"""Methods, each of them a tool of its own."""


def is_proxied(request: BaseRequest) -> bool:
    """Is the gateway asked as a proxy? By its request line alone: a Host says nothing of that."""
    return request.method == CONNECT or not request.raw_path.startswith("/")


def identify(arrival: Arrival, fixed_agent: str | None) -> None:
    """Agent and run. No other header can say who calls: they are the target's, and may be written by a page that it served. Raises
    Refusal.
    """
    arrival.door = Door.EGRESS
    headers, snapshot = arrival.request.headers, arrival.snapshot
    arrival.agent, run = proxy_caller_of(headers.getall(CREDENTIALS, ()), snapshot, fixed_agent)
    arrival.run = run_of(run, headers, snapshot.identify_by_trace)


def decode(arrival: Arrival) -> Plan:
    """Fills in tool, plan and destination. Raises Refusal."""
    method = arrival.request.method
    if method not in TAKEN:
        arrival.methods = TAKEN
        detail = f"The methods that go out through the proxy are {', '.join(sorted(TAKEN))}; send one of these."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail, status_override=405))
    arrival.tool = f"http.{method.lower()}"
    plan = arrival.plan = arrival.snapshot.plan(arrival.agent, arrival.tool)
    target = arrival.destination = _destination(arrival.request)
    arrival.rest, _, arrival.query = written(target).partition("?")
    if CREDENTIALS not in arrival.request.headers and not plan.report:
        _ask_who_it_is(arrival, plan)
    _refuse_itself(arrival, plan, target)
    return plan


def destined(arrival: Arrival, body: bytes | BodyStream) -> ToolCall:
    """The ToolCall of a proxied request, with every header that is the target's. (An agent's token never is.) Raises Refusal."""
    headers = arrival.request.headers
    dropped = TO_TARGETS | {"authorization"} if carries_token(headers, arrival.snapshot) else TO_TARGETS
    kept = end_to_end(headers.items(), headers.getall("Connection", ()), dropped)
    if arrival.tool not in FETCHED:
        return arrival.call(body, headers=tuple(kept))
    # What a schema says of the URL that is fetched holds for both ways to fetch it.
    call = arrival.call(body, headers=tuple(kept), arguments={"url": arrival.request.raw_path})
    return call._replace(malformed="a body beside the URL") if body else call


def _ask_who_it_is(arrival: Arrival, plan: Plan) -> None:
    """Where that can help: many a client sends a proxy its credentials only when it is asked for them (RFC 9110, 11.7.1)."""
    unknown = arrival.agent == DEFAULT_AGENT and bool(arrival.snapshot.agents_with_token)
    if not plan.allowed and unknown:
        raise proxy_unauthenticated(f"{arrival.tool} is not allowed to callers that do not say who they are.")
    if plan.allowed and plan.anonymous == "deny" and not arrival.run:
        what = "This call names no run, and the policy counts every call to one (runs.anonymous: deny)."
        raise proxy_unauthenticated(what, Reason.RUN_ID_REQUIRED)


def _destination(request: BaseRequest) -> Target:
    try:
        return parse_tunnel(request.raw_path) if request.method == CONNECT else parse_target(request.raw_path)
    except ValueError as error:
        form = "HOST:PORT" if request.method == CONNECT else "http://HOST[:PORT]/PATH, or https"
        detail = f"The target of this proxied request is not taken: {error}. It is written {form}."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail)) from None


def _refuse_itself(arrival: Arrival, plan: Plan, target: Target) -> None:
    """A client calls its base URL, which is the gateway, through the proxy, which is the gateway as well. A name is not looked up: of one
    that nothing allows, at the very port that this came in by, it can only be said that it may be so.
    """
    transport = arrival.request.transport
    here = transport.get_extra_info("sockname") if transport is not None else None
    if not isinstance(here, tuple) or target.port != here[1]:
        return
    if is_own(target.host, target.port, frozenset({(here[0], here[1])})):
        rule = "it is the gateway itself"
    elif not plan.report and not host_allowed(plan.egress, target.host):
        rule = "the host is not listed in egress.allow_hosts, and seems to be the gateway itself"
    else:
        return
    detail = (
        f"{target.host} port {target.port} may not be reached through the proxy: {rule}. "
        f"Call it directly: set NO_PROXY={target.host} beside HTTP_PROXY."
    )
    raise Refusal(Denial(Reason.EGRESS_NOT_ALLOWED, detail))
