"""Which HTTP methods are taken; the others are 405, with an Allow header."""

from gateway.denial import Denial, Reason
from gateway.doors.arrival import Arrival
from gateway.doors.refusal import Refusal


def check_method(arrival: Arrival, methods: frozenset[str] | None) -> None:
    """Raises Refusal (405) where the request's method is none of these. None: any."""
    if methods is not None and arrival.request.method not in methods:
        arrival.methods = methods
        what = arrival.tool or "This path"
        detail = f"{what} takes {', '.join(sorted(methods))}; send one of these."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail, status_override=405))
