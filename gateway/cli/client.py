"""How commands reach the admin plane: the address and token of the same variables as `serve`, over the standard library's HTTP."""

import http.client
import json
import os
import socket
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from gateway.admin.token import DEFAULT_FILE, AdminToken
from gateway.settings import Address, SettingsError, read_settings

_TIMEOUT = 10.0
"""Seconds. An admin plane that takes longer is stuck."""
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what a listener on every interface is reached by


class Unreachable(Exception):
    """One line: what could not be reached, and the remedy. The command exits 2."""


class AdminAnswer(NamedTuple):
    """A parsed answer of the admin plane."""

    status: int
    body: dict[str, object]

    @property
    def detail(self) -> str:
        return str(self.body.get("detail", f"status {self.status}"))


def ask(method: str, path: str, body: object = None) -> AdminAnswer:
    """One request. Raises Unreachable, also where the token is missing or not the right one, or settings are bad."""
    try:
        settings = read_settings(os.environ)
        token = AdminToken.of(settings).current()
    except SettingsError as error:
        raise Unreachable(str(error)) from None
    if token is None:
        raise Unreachable(
            f"no admin token: run this where {DEFAULT_FILE} of the gateway is (it is looked for in the working directory),"
            " or set GATEWAY_ADMIN_TOKEN_FILE or GATEWAY_ADMIN_TOKEN as the gateway has it"
        )
    answer = _send(settings.admin_listen, token, method, path, body)
    if answer.status in (401, 429):
        raise Unreachable(f"the gateway at {settings.admin_listen} did not take the admin token: {answer.detail}")
    return answer


def segment(text: str) -> str:
    """One path segment, whatever is in it."""
    return quote(text, safe="")


def query(parameters: Mapping[str, str | None]) -> str:
    """A query string of those that are set."""
    return urlencode({name: value for name, value in parameters.items() if value is not None})


def _send(address: Address, token: str, method: str, path: str, body: object) -> AdminAnswer:
    connection = _UnixConnection(address.path) if address.path else _tcp(address)
    # Host says localhost whatever name the address has: the admin plane answers to that without GATEWAY_ADMIN_HOSTS.
    headers = {"Authorization": f"Bearer {token}", "Host": "localhost", "Content-Type": "application/json"}
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise Unreachable(
            f"admin plane not reachable at {address} ({why.lower()}): is the gateway running, and is GATEWAY_ADMIN_LISTEN"
            " the same here as there?"
        ) from None
    except ValueError:
        raise Unreachable(f"what listens at {address} is not a gateway's admin plane") from None
    finally:
        connection.close()
    if not isinstance(answer, dict):
        raise Unreachable(f"what listens at {address} is not a gateway's admin plane")
    return AdminAnswer(response.status, answer)


def _tcp(address: Address) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(_EVERYWHERE.get(address.host, address.host), address.port, timeout=_TIMEOUT)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
