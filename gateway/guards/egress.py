"""May a fetch go to this host and port? The address behind the name is judged where it is dialled (upstreams/fetch.py)."""

from gateway.denial import Denial, Reason
from gateway.model import Moment, ToolCall
from gateway.policy.snapshot import Plan
from gateway.policy.targets import host_allowed
from gateway.state.counts import Counts


def guard(call: ToolCall, plan: Plan, counts: Counts, now: Moment) -> Denial | None:
    """Default deny: no host is allowed that the policy does not list, and no port either."""
    target = call.destination
    if target is None:
        return None
    if not host_allowed(plan.egress, target.host):
        return _denied(target.host, target.port, "the host is not listed in egress.allow_hosts")
    if target.port not in plan.egress.ports:
        return _denied(target.host, target.port, "the port is not listed in egress.ports")
    return None


def _denied(host: str, port: int, rule: str) -> Denial:
    return Denial(
        Reason.EGRESS_NOT_ALLOWED,
        f"{host} port {port} may not be reached: {rule}."
        " Use an allowed source instead; repeating the call will not help, only an operator can add it.",
    )
