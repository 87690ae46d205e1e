"""Headers that belong to one connection, so that neither side of the gateway passes them on."""

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Lower case: those of RFC 9110, 7.6.1, and those that common proxies treat so."""
