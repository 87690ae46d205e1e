"""Which headers go on, which are ours, which are nobody's business. Pure."""

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from gateway.denial import Denial, Reason
from gateway.doors.refusal import Refusal
from gateway.hop_by_hop import HOP_BY_HOP
from gateway.model import Moment

NOT_FORWARDED = HOP_BY_HOP | {
    "host",
    "content-length",
    "expect",
    "authorization",
    "idempotency-key",
    "via",
    "forwarded",
}
"""Framing and Host are written anew (TRAPS: a copied Transfer-Encoding smuggles); Via and Forwarded are extended."""
WITH_AUTHORIZATION = NOT_FORWARDED - {"authorization"}
TO_TARGETS = HOP_BY_HOP | {"host", "content-length", "expect"}
"""Of a proxied request: what else it holds is between the caller and its target."""
OURS = ("agent-", "tool-gateway-")
IDEMPOTENCY_KEY = "Idempotency-Key"
"""draft-ietf-httpapi-idempotency-key-header. Its value is taken as it is, in quotation marks (as the draft has it) or without (as most
clients do).
"""
_KEY = re.compile(r"[!-~]{1,255}")


def end_to_end(
    headers: Iterable[tuple[str, str]], connection: Iterable[str], dropped: frozenset[str] = NOT_FORWARDED
) -> list[tuple[str, str]]:
    """What of the caller's headers goes on: neither those `dropped`, nor those that the Connection lines name, nor ours."""
    for line in connection:
        dropped = dropped | {name.strip().lower() for name in line.split(",")}
    return [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in dropped and not lower.startswith(OURS)
    ]


def forwarding(peer: str | None, host: str, via: Iterable[str], forwarded: Iterable[str]) -> list[tuple[str, str]]:
    """Via (RFC 9110, 7.6.3) and Forwarded (RFC 7239), each behind what earlier proxies wrote."""
    return [
        ("Via", ", ".join((*via, "1.1 tool-gateway"))),
        ("Forwarded", ", ".join((*forwarded, _hop(peer, host)))),
    ]


@lru_cache(maxsize=64)  # nearly every call comes from the same peer and names the same host
def _hop(peer: str | None, host: str) -> str:
    node = "unknown" if not peer else f'"[{peer}]"' if ":" in peer else peer
    return f'for={node};host="{host}";proto=http'


def idempotency_key_of(lines: Sequence[str]) -> str:
    """The caller's key, from the header's lines. Raises Refusal."""
    if len(lines) > 1 or not _KEY.fullmatch(lines[0]):
        detail = "Idempotency-Key must stand once, as 1 to 255 visible ASCII characters."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail))
    return lines[0]


def made_up_key(call_id: str, started: Moment) -> str:
    """For an upstream that honours keys, where the caller sent none: the same for every attempt of the call, and no other call's, in this
    process or the next.
    """
    return f"{call_id}-{round(started.wall * 1000):x}"
