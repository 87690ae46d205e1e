"""What check-lock and leases have in common: keys, times to live, and a record that cannot be kept."""

from gateway.denial import Denial, Reason
from gateway.doors.governed.asking import Json, unprocessable
from gateway.doors.governed.shelf import Fields, FullError, Shelf
from gateway.doors.refusal import Refusal
from gateway.state.stores import StoreError

LONGEST_KEY = 256
NOT_IN_A_FLEET = (
    "Locks and leases are not built for a fleet, whose gateways would each keep their own: use one gateway with sqlite:PATH, "
    "or a key of the tool's own."
)


def key_of(document: Json) -> str:
    """Raises Refusal."""
    key = document.get("key")
    if not isinstance(key, str) or not 1 <= len(key) <= LONGEST_KEY or not key.isprintable():
        raise unprocessable(f"key must be printable text of 1 to {LONGEST_KEY} characters")
    return key


def ttl_of(document: Json, usual: int, longest: int) -> int:
    """Seconds; 0 is as good as absent. Raises Refusal."""
    ttl = document.get("ttl") or usual
    if isinstance(ttl, bool) or not isinstance(ttl, int) or not 1 <= ttl <= longest:
        raise unprocessable(f"ttl must be a whole number of seconds from 1 to {longest}")
    return ttl


async def kept(shelf: Shelf, key: str, until: float, fields: Fields, now: float) -> None:
    """Raises Refusal: 429 where there is no room, 424 where it cannot be written, for the SDK's check_lock goes on after a 5xx."""
    try:
        await shelf.put(key, until, fields, now)
    except FullError as error:
        raise Refusal(Denial(Reason.OVERLOADED, f"This is not kept: {error}.", status_override=429)) from None
    except StoreError:
        detail = "This cannot be written down, so nothing was changed; an operator has to look at the gateway's state."
        raise Refusal(Denial(Reason.STATE_UNAVAILABLE, detail, status_override=424)) from None
