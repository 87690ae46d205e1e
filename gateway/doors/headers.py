"""Which headers go on, which are ours, which are nobody's business. Pure."""

from collections.abc import Collection

from gateway.model import HOP_BY_HOP

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
OURS = ("agent-", "tool-gateway-")

Headers = Collection[tuple[str, str]]


def end_to_end(headers: Headers, *, authorization: bool) -> list[tuple[str, str]]:
    """What of the caller's headers an upstream of the policy sees. `authorization`: the tool forwards the caller's own."""
    dropped: frozenset[str] | set[str] = NOT_FORWARDED - {"authorization"} if authorization else NOT_FORWARDED
    named = {
        token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")
    }
    if named:
        dropped = dropped | named
    return [
        (name, value)
        for name, value in headers
        if (lower := name.lower()) not in dropped and not lower.startswith(OURS)
    ]


def forwarding(peer: str | None, host: str, earlier: Headers) -> list[tuple[str, str]]:
    """Via (RFC 9110, 7.6.3) and Forwarded (RFC 7239), each behind what earlier proxies wrote."""
    via, forwarded = [], []
    for name, value in earlier:
        lower = name.lower()
        if lower == "via":
            via.append(value)
        elif lower == "forwarded":
            forwarded.append(value)
    node = "unknown" if not peer else f'"[{peer}]"' if ":" in peer else peer
    via.append("1.1 tool-gateway")
    forwarded.append(f'for={node};host="{host}";proto=http')
    return [("Via", ", ".join(via)), ("Forwarded", ", ".join(forwarded))]
