"""Which HTTP methods a tool takes; the others are 405."""

from gateway.doors.refusal import Refusal
from gateway.model import Denial, Reason


def check_method(methods: frozenset[str] | None, method: str, tool: str) -> None:
    """Raises Refusal (405) where the tool does not take the method. None: it takes any."""
    if methods is not None and method not in methods:
        detail = f"{tool} takes {', '.join(sorted(methods))}; send one of these."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail, status_override=405))
