"""Where the store is, from GATEWAY_STATE. Pure: settings check the form with it, and nothing here connects."""

from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = {"valkey": False, "redis": False, "valkeys": True, "rediss": True}
"""And whether they mean TLS."""
FORM = "valkey://[user:password@]host:port[/db] (redis://; with TLS valkeys:// or rediss://, which take ?ca_file=PATH)"


class Place(NamedTuple):
    """One server. Never shown but as `str`."""

    scheme: str
    host: str
    port: int
    db: int
    username: str | None
    password: str | None
    ca_file: str | None

    @property
    def tls(self) -> bool:
        return SCHEMES[self.scheme]

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.db}"

    def __repr__(self) -> str:
        return str(self)


def is_shared(state: str) -> bool:
    """Does GATEWAY_STATE name a store that several gateways share?"""
    return state.partition(":")[0] in SCHEMES


def state_shared(state: str) -> str | None:
    """What gateways share there and what each has by itself, for `check`; None where they share nothing."""
    if not is_shared(state):
        return None
    return (
        f"all gateways on {parse_place(state)} share agents' limits, the budgets of named runs and kill switches. Each has by itself,"
        " so that N gateways allow N times as much: rate, max_concurrency, circuit_breaker, retries.budget_percent,"
        " max_identical_calls, runs.max_started_per_hour, calls without a run id, and kept answers"
    )


def parse_place(text: str) -> Place:
    """Raises ValueError, whose text repeats nothing of the URL."""
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port or 6379
        options = dict(parse_qsl(url.query, keep_blank_values=True, strict_parsing=bool(url.query)))
    except ValueError:
        raise ValueError(FORM) from None
    db = url.path.removeprefix("/") or "0"
    known = url.scheme in SCHEMES and host and not url.fragment and db.isascii() and db.isdigit() and int(db) < 1 << 20
    ca_file = options.pop("ca_file", None)
    if not known or not host or options or (ca_file is not None and not (SCHEMES[url.scheme] and ca_file)):
        raise ValueError(FORM)
    username = unquote(url.username) if url.username else None
    password = unquote(url.password) if url.password else None
    if username and not password:
        raise ValueError(FORM)
    return Place(url.scheme, host, port, int(db), username, password, ca_file)
