"""Process settings from the environment, read once at start (SPEC 1). Not policy: nothing here is reloadable.

Pure: `read_settings` sees a mapping, never the process or a file. The admin token's file is read by admin/token.py.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar
from urllib.parse import urlsplit

from gateway.place import FORM as PLACE_FORM
from gateway.place import is_shared, parse_place

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or dial: a TCP host and port, or a Unix socket path."""

    host: str = ""
    """A host name or an IP address, an IPv6 one without brackets."""
    port: int = 0
    """0: the system chooses one, and the `gateway_started` event tells which."""
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class SettingsError(Exception):
    """One line: the variable, what is wrong, the valid form, the nearest valid name. The process exits 2."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Every field is one variable of SPEC 1, validated."""

    policy: str
    listen: Address
    admin_listen: Address
    admin_token: str | None
    admin_token_file: str | None
    admin_hosts: frozenset[str]
    agent_id: str | None
    upstream: str | None
    state: str
    """`memory:`, `sqlite:PATH` or a place (place.py). It may hold a password."""
    drain_seconds: float
    drain_idle_seconds: float
    max_in_flight: int
    max_connections: int
    max_buffered_bytes: int
    read_timeout: float
    log: str
    """`-` for stdout, or a path."""
    budgets: Mapping[str, int]
    """AGENT_MAX_* variables that are set."""

    def __repr__(self) -> str:
        return f"Settings(listen={self.listen}, admin_listen={self.admin_listen}, policy={self.policy!r})"


class Variable(NamedTuple):
    """One line of the reference: the default (None: unset), and the valid form as errors and --help print it."""

    default: str | None
    form: str
    meaning: str
    secret: bool = False
    """Its value is never repeated, not even in part."""


_ADDRESS = "host:port, [v6]:port or unix:/path"

VARIABLES: Mapping[str, Variable] = {
    "GATEWAY_POLICY": Variable("policies", "the path of a policy folder or of one policy file", "the policy"),
    "GATEWAY_LISTEN": Variable("127.0.0.1:8080", _ADDRESS, "data plane: what the agent talks to"),
    "GATEWAY_ADMIN_LISTEN": Variable("127.0.0.1:8081", _ADDRESS, "admin plane: operators and probes"),
    "GATEWAY_ADMIN_TOKEN": Variable(
        None, "a token of visible ASCII characters without spaces", "bearer token of the admin plane", secret=True
    ),
    "GATEWAY_ADMIN_TOKEN_FILE": Variable(
        None, "the path of a file that holds the token", "the same from a file, re-read when it changes"
    ),
    "GATEWAY_ADMIN_HOSTS": Variable(
        None,
        "host names separated by commas, without ports",
        "names the admin plane answers to beside IP addresses and localhost",
    ),
    "GATEWAY_AGENT_ID": Variable(
        None, "1 to 128 of A-Za-z0-9._:- (an agent's name)", "fixes the agent for every call; no header can spoof it"
    ),
    "GATEWAY_UPSTREAM": Variable(
        None,
        "http://host[:port][/path] or https://… without user-info, query or fragment",
        "shorthand for upstreams.default.url",
        secret=True,
    ),
    "GATEWAY_STATE": Variable(
        "sqlite:var/gateway.db",
        f"memory:, sqlite:PATH or {PLACE_FORM}",
        "where counts live; several gateways can share a Valkey or Redis",
        secret=True,
    ),
    "GATEWAY_DRAIN_SECONDS": Variable("25", "a number of seconds 0..3600", "all the time from SIGTERM to exit"),
    "GATEWAY_DRAIN_IDLE_SECONDS": Variable(
        "10", "a number of seconds 0..3600", "calls are served until none was in flight for so long"
    ),
    "GATEWAY_MAX_IN_FLIGHT": Variable("1000", "an integer 1..100000", "calls at once; beyond it `overloaded`"),
    "GATEWAY_MAX_CONNECTIONS": Variable("2000", "an integer 1..100000", "agent connections at once"),
    "GATEWAY_MAX_BUFFERED_BYTES": Variable(
        "67108864", "a size 128KiB..64GiB (an integer, or one with KiB, MiB, GiB)", "bytes of all bodies held at once"
    ),
    "GATEWAY_READ_TIMEOUT": Variable(
        "10", "a number of seconds 0.1..3600", "for a request's head, and again for each 64 KiB of its body"
    ),
    "GATEWAY_LOG": Variable("-", "`-` for stdout, or the path of a file", "where log lines go"),
    "AGENT_MAX_STEPS": Variable(None, "an integer 1..1000000", "run budget (built in: 25)"),
    "AGENT_MAX_TOOL_CALLS": Variable(None, "an integer 1..1000000", "run budget (built in: 12)"),
    "AGENT_MAX_SECONDS": Variable(None, "an integer 1..604800", "run budget (built in: 60)"),
}
"""Every variable there is, in the order of SPEC 1. The upper bounds are far beyond sense and catch a slipped digit."""

BUDGETS = {"AGENT_MAX_STEPS": 1_000_000, "AGENT_MAX_TOOL_CALLS": 1_000_000, "AGENT_MAX_SECONDS": 604_800}
"""Each run budget and the most it may be."""

_INJECTED = re.compile(r"GATEWAY_PORT(_.*)?|GATEWAY_SERVICE_.*", re.DOTALL)
"""What Kubernetes injects for a Service named gateway."""
_NUMBER = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
_INTEGER = re.compile(r"[0-9]{1,15}")
_SIZE = re.compile(r"([0-9]{1,15}) ?(KiB|MiB|GiB)?")
_AGENT = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TOKEN = re.compile(r"[!-~]+")
_HOST_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Raises SettingsError with the one line to print."""
    _refuse_unknown(environ)
    listen = _read(environ, "GATEWAY_LISTEN", parse_address)
    admin_listen = _read(environ, "GATEWAY_ADMIN_LISTEN", parse_address)
    _refuse_shared_port(listen, admin_listen)
    token, token_file = _token(environ)
    drain, idle = _drain(environ)
    return Settings(
        policy=_read(environ, "GATEWAY_POLICY", _path),
        listen=listen,
        admin_listen=admin_listen,
        admin_token=token,
        admin_token_file=token_file,
        admin_hosts=_optional(environ, "GATEWAY_ADMIN_HOSTS", _hosts) or frozenset(),
        agent_id=_optional(environ, "GATEWAY_AGENT_ID", _matching(_AGENT)),
        upstream=_optional(environ, "GATEWAY_UPSTREAM", _url),
        state=_read(environ, "GATEWAY_STATE", _state),
        drain_seconds=drain,
        drain_idle_seconds=idle,
        max_in_flight=_read(environ, "GATEWAY_MAX_IN_FLIGHT", _integer(1, 100_000)),
        max_connections=_read(environ, "GATEWAY_MAX_CONNECTIONS", _integer(1, 100_000)),
        max_buffered_bytes=_read(environ, "GATEWAY_MAX_BUFFERED_BYTES", _size(128 << 10, 64 << 30)),
        read_timeout=_read(environ, "GATEWAY_READ_TIMEOUT", _seconds(0.1, 3600)),
        log=_read(environ, "GATEWAY_LOG", _path),
        budgets=_budgets(environ),
    )


def is_token(text: str) -> bool:
    """Can this be sent as `Authorization: Bearer …`?"""
    return _TOKEN.fullmatch(text) is not None


def _read(environ: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T:
    """The variable's value or its default, parsed. `parse` raises ValueError where the form is wrong."""
    variable = VARIABLES[name]
    text = environ.get(name, variable.default)
    assert text is not None  # noqa: S101  _optional asks for those without a default
    if not text:
        raise SettingsError(f"{name}: is empty; expected {variable.form}, or leave it unset")
    try:
        return parse(text)
    except ValueError:
        got = "" if variable.secret or "@" in text else f", got {_shown(text)}"
        raise SettingsError(f"{name}: expected {variable.form}{got}") from None


def _optional(environ: Mapping[str, str], name: str, parse: Callable[[str], T]) -> T | None:
    return _read(environ, name, parse) if name in environ else None


def _shown(text: str) -> str:
    """A value as the error line repeats it: one line, short, printable."""
    printable = "".join(c if c.isprintable() and c != '"' else "?" for c in text[:40])
    return f'"{printable}{"…" if len(text) > 40 else ""}"'


def _refuse_unknown(environ: Mapping[str, str]) -> None:
    for name in sorted(environ):
        if not name.startswith("GATEWAY_") or name in VARIABLES or _INJECTED.fullmatch(name):
            continue
        from difflib import get_close_matches  # for mistakes alone: a start without one need not have it

        nearest = get_close_matches(name, VARIABLES, n=1, cutoff=0.0)[0]
        raise SettingsError(
            f"{_shown(name)[1:-1]}: no such variable; the nearest is {nearest} (expects {VARIABLES[nearest].form})"
        )


def _refuse_shared_port(listen: Address, admin: Address) -> None:
    """Even on another address: `0.0.0.0:8080` and `127.0.0.1:8080` would split the port between agent and operator."""
    same_port = listen.path is None and admin.path is None and listen.port == admin.port != 0
    if same_port or (listen.path is not None and listen.path == admin.path):
        raise SettingsError(
            f"GATEWAY_ADMIN_LISTEN: {admin} is the port of GATEWAY_LISTEN ({listen}); the agent must not reach"
            " the admin plane: choose another port"
        )


def _token(environ: Mapping[str, str]) -> tuple[str | None, str | None]:
    token = _optional(environ, "GATEWAY_ADMIN_TOKEN", _matching(_TOKEN))
    file = _optional(environ, "GATEWAY_ADMIN_TOKEN_FILE", _path)
    if token is not None and file is not None:
        raise SettingsError("GATEWAY_ADMIN_TOKEN_FILE: GATEWAY_ADMIN_TOKEN is set too; set one of the two")
    return token, file


def _drain(environ: Mapping[str, str]) -> tuple[float, float]:
    """Refuses a written idle time beyond the drain time; the default one gives way to a short drain."""
    drain = _read(environ, "GATEWAY_DRAIN_SECONDS", _seconds(0, 3600))
    idle = _read(environ, "GATEWAY_DRAIN_IDLE_SECONDS", _seconds(0, 3600))
    if idle > drain and "GATEWAY_DRAIN_IDLE_SECONDS" in environ:
        raise SettingsError(
            f"GATEWAY_DRAIN_IDLE_SECONDS: {idle:g} is longer than GATEWAY_DRAIN_SECONDS ({drain:g}); expected at most that"
        )
    return drain, min(idle, drain)


def _budgets(environ: Mapping[str, str]) -> Mapping[str, int]:
    return {name: _read(environ, name, _integer(1, most)) for name, most in BUDGETS.items() if name in environ}


def parse_address(text: str) -> Address:
    """`host:port`, `[v6]:port` or `unix:/path`. Raises ValueError."""
    if text.startswith("unix:"):
        # 107 bytes is what Linux takes; the kernel's own message for more is "AF_UNIX path too long".
        if not text.startswith("unix:/") or "\0" in text or len(text[5:].encode()) > 107:
            raise ValueError
        return Address(path=text[5:])
    host, colon, port = text.rpartition(":")
    if not colon or not _INTEGER.fullmatch(port) or int(port) > 65535:
        raise ValueError
    if host.startswith("[") and host.endswith("]") and "%" not in host:
        return Address(str(ipaddress.IPv6Address(host[1:-1])), int(port))
    if re.fullmatch(r"[0-9.]+", host):
        return Address(str(ipaddress.IPv4Address(host)), int(port))
    return Address(_matching(_HOST_NAME)(host).lower(), int(port))


def _path(text: str) -> str:
    if "\0" in text:
        raise ValueError
    return text


def _hosts(text: str) -> frozenset[str]:
    hosts = [part.strip().rstrip(".").lower() for part in text.split(",")]
    if not all(_HOST_NAME.fullmatch(host) for host in hosts):
        raise ValueError
    return frozenset(hosts)


def _matching(pattern: re.Pattern[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError
        return text

    return parse


def _url(text: str) -> str:
    """Rough form only, so that the line can name the variable; policy/compile normalises it like any upstream's URL."""
    url = urlsplit(_matching(_TOKEN)(text))
    if url.scheme not in ("http", "https") or not url.hostname or url.port == 0 or re.search("[@?#]", text):
        raise ValueError
    return text


def _state(text: str) -> str:
    scheme, _, path = text.partition(":")
    if is_shared(text):
        parse_place(text)
        return text
    if text != "memory:" and (scheme != "sqlite" or not path or path.startswith("//") or "\0" in path):
        raise ValueError
    return text


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not _INTEGER.fullmatch(text) or not low <= int(text) <= high:
            raise ValueError
        return int(text)

    return parse


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not _NUMBER.fullmatch(text) or not low <= float(text) <= high:
            raise ValueError
        return float(text)

    return parse


def _size(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        match = _SIZE.fullmatch(text)
        size = int(match[1]) * {None: 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[match[2]] if match else -1
        if not low <= size <= high:
            raise ValueError
        return size

    return parse
