"""Where the store is, from GATEWAY_STATE. Pure: settings check the form with it, and nothing here connects."""

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

TLS = {"valkey": False, "redis": False, "valkeys": True, "rediss": True}
PORTS = {"": 6379, "sentinel": 26379, "cluster": 6379}
"""By topology, as it follows the scheme's plus: where nothing follows, the URL names the one server."""
SCHEMES = frozenset(f"{kind}+{topology}".rstrip("+") for kind in TLS for topology in PORTS)
FORM = (
    "valkey://[user:password@]host[:port][/db], valkey+sentinel://host[:port],…/name[/db] or valkey+cluster://host[:port],…"
    " (or redis; with TLS valkeys or rediss, which take ?ca_file=PATH; ?password_file=PATH holds the password)"
)
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
"""What a Sentinel takes for the name of a primary."""
_OF_ALL = ("password_file",)
_OF_TLS = ("ca_file", "client_cert_file", "client_key_file")
_OF_SENTINELS = ("sentinel_username", "sentinel_password", "sentinel_password_file")


class Node(NamedTuple):
    """A server's address."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Place(NamedTuple):
    """One server, what Sentinels say is the primary, or a cluster. Never shown but as `str`."""

    scheme: str
    nodes: tuple[Node, ...]
    """The server; the Sentinels; some nodes of the cluster, which know the others."""
    name: str
    """Under which the Sentinels know the primary, else ""."""
    db: int
    username: str | None
    password: str | None
    options: dict[str, str]
    """What stands behind the question mark, each known and in its place."""

    @property
    def tls(self) -> bool:
        return TLS[self.scheme.partition("+")[0]]

    @property
    def topology(self) -> str:
        """`sentinel`, `cluster`, or "" for one server."""
        return self.scheme.partition("+")[2]

    def key(self, name: str) -> str:
        """A key or channel of the gateways as it is named there. In a cluster all are in one slot, whose number of a database is a part
        of the name: charges, what is told anew after a loss and what is set for all then have one server and one order.
        """
        return name.replace(":", f":{{{self.db}}}:", 1) if self.topology == "cluster" else name

    def __str__(self) -> str:
        name = f"/{self.name}" if self.name else ""
        return f"{self.scheme}://{','.join(map(str, self.nodes))}{name}/{self.db}"

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
        f"all gateways on {parse_place(state)} share agents' limits, the budgets of named runs, answers to an Idempotency-Key,"
        " kill switches, and the policies and tools of the governed door. Each has by itself, so that N gateways allow N times as much:"
        " rate, max_concurrency, circuit_breaker, retries.budget_percent, max_identical_calls, runs.max_started_per_hour, calls without"
        " a run id, and repeats of governed calls"
    )


def parse_place(text: str) -> Place:
    """Raises ValueError, whose text repeats nothing of the URL."""
    try:
        place = _parsed(text)
    except ValueError:
        place = None
    if place is None:
        raise ValueError(FORM)
    return place


def _parsed(text: str) -> Place | None:
    """None, or a ValueError, where it is none. By hand: urlsplit takes one host."""
    scheme, _, rest = text.partition("://")
    if scheme not in SCHEMES or "#" in rest:
        return None
    address, _, query = rest.partition("?")
    authority, _, path = address.partition("/")
    user, _, hosts = authority.rpartition("@")
    username, _, password = map(unquote, user.partition(":"))
    topology = scheme.partition("+")[2]
    name, _, number = path.partition("/") if topology == "sentinel" else ("", "", path)
    nodes = tuple(_node(host, PORTS[topology]) for host in hosts.split(","))
    db = number or "0"
    options = dict(parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)))
    place = Place(
        scheme,
        nodes,
        name,
        int(db) if db.isascii() and db.isdigit() else -1,
        username or None,
        password or None,
        options,
    )
    return place if _is_sound(place) else None


def _is_sound(place: Place) -> bool:
    options, several = place.options, bool(place.topology)
    known = (*_OF_ALL, *(_OF_TLS if place.tls else ()), *(_OF_SENTINELS if place.topology == "sentinel" else ()))
    return (
        (several or len(place.nodes) == 1)
        and 0 <= place.db < 1 << 20
        and (place.topology != "sentinel" or _NAME.fullmatch(place.name) is not None)
        and not (place.password is not None and "password_file" in options)
        and (place.username is None or place.password is not None or "password_file" in options)
        and all(name in known and value for name, value in options.items())
        and not ("sentinel_password" in options and "sentinel_password_file" in options)
        and ("sentinel_username" not in options or not options.keys().isdisjoint(_OF_SENTINELS[1:]))
        and ("client_cert_file" in options) == ("client_key_file" in options)
    )


def _node(text: str, usual: int) -> Node:
    """Raises ValueError."""
    url = urlsplit(f"//{text}")
    if not url.hostname or url.netloc != text:
        raise ValueError
    return Node(url.hostname, url.port or usual)
