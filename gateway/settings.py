"""Process settings from the environment, read once at start (SPEC 1). Not policy: nothing here is reloadable."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or dial: a TCP host and port, or a Unix socket path."""

    host: str = ""
    port: int = 0
    path: str | None = None


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
    """`memory:` or `sqlite:PATH`."""
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


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Raises SettingsError with the one line to print."""
    raise SettingsError("not built")
