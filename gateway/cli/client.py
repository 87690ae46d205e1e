"""How commands reach the admin plane: the address and token of the same variables as `serve`, over the standard library's HTTP."""

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from gateway.admin.token import DEFAULT_FILE, AdminToken
from gateway.settings import Address, SettingsError, read_settings

_TIMEOUT = 10.0
"""Seconds. An admin plane that takes longer is stuck."""
_SILENCE = 60.0
"""Seconds. A stream says that it is there every 15."""
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what a listener on every interface is reached by


class Unreachable(Exception):
    """One line: what could not be reached, and the remedy. The command exits 2, unless it can wait: `passing` says that it may pass."""

    def __init__(self, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.passing = passing


class AdminAnswer(NamedTuple):
    """A parsed answer of the admin plane."""

    status: int
    body: dict[str, object]

    @property
    def detail(self) -> str:
        return str(self.body.get("detail", f"status {self.status}"))


def ask(method: str, path: str, body: object = None, *, patience: float = _TIMEOUT) -> AdminAnswer:
    """One request, waited for so many seconds. Raises Unreachable, also where the token is missing or not the right one."""
    address, token = _whereabouts()
    answer = _send(address, token, method, path, body, patience)
    if answer.status in (401, 429):
        raise _not_taken(address, answer)
    return answer


class Streamed(NamedTuple):
    """One server-sent event."""

    name: str
    id: str | None
    data: dict[str, object]


def follow(path: str, last_id: str | None) -> Iterator[Streamed | None]:
    """An event stream of the admin plane, from behind the event `last_id` on: None once it is open, then each event, until the gateway
    ends it or is gone. Raises Unreachable where it cannot be had.
    """
    address, token = _whereabouts()
    connection = _connection(address, _SILENCE)
    headers = {**_headers(token), "Accept": "text/event-stream"} | (
        {} if last_id is None else {"Last-Event-ID": last_id}
    )
    try:
        response = _answer(connection, address, "GET", path, None, headers)
        if response.status != http.client.OK:
            answer = AdminAnswer(response.status, _parsed(response, address))
            if answer.status in (401, 429):
                raise _not_taken(address, answer)
            raise Unreachable(answer.detail, passing=answer.status == http.client.SERVICE_UNAVAILABLE)
        yield None
        yield from _events(response)
    finally:
        connection.close()


def _events(response: http.client.HTTPResponse) -> Iterator[Streamed]:
    fields: dict[str, str] = {}
    try:
        while line := response.readline():
            name, _, value = line.decode("utf-8", "replace").rstrip("\n").partition(": ")
            if name:
                fields[name] = value
                continue
            if "event" in fields and isinstance(data := json.loads(fields.get("data", "")), dict):
                yield Streamed(fields["event"], fields.get("id"), data)
            fields = {}
    except (OSError, http.client.HTTPException, ValueError):
        return  # the connection broke off, or fell silent


def _whereabouts() -> tuple[Address, str]:
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
    return settings.admin_listen, token


def _not_taken(address: Address, answer: AdminAnswer) -> Unreachable:
    return Unreachable(f"the gateway at {address} did not take the admin token: {answer.detail}")


def segment(text: str) -> str:
    """One path segment, whatever is in it."""
    return quote(text, safe="")


def query(parameters: Mapping[str, str | None]) -> str:
    """A query string of those that are set."""
    return urlencode({name: value for name, value in parameters.items() if value is not None})


def _send(address: Address, token: str, method: str, path: str, body: object, patience: float) -> AdminAnswer:
    connection = _connection(address, patience)
    try:
        response = _answer(connection, address, method, path, body, _headers(token))
        return AdminAnswer(response.status, _parsed(response, address))
    finally:
        connection.close()


def _headers(token: str) -> dict[str, str]:
    """Host says localhost whatever name the address has: the admin plane answers to that without GATEWAY_ADMIN_HOSTS."""
    return {"Authorization": f"Bearer {token}", "Host": "localhost", "Content-Type": "application/json"}


def _answer(
    connection: http.client.HTTPConnection,
    address: Address,
    method: str,
    path: str,
    body: object,
    headers: Mapping[str, str],
) -> http.client.HTTPResponse:
    try:
        connection.request(method, path, None if body is None else json.dumps(body).encode(), headers)
        return connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        raise _out_of_reach(address, error) from None


def _parsed(response: http.client.HTTPResponse, address: Address) -> dict[str, object]:
    try:
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException) as error:
        raise _out_of_reach(address, error) from None
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise Unreachable(f"what listens at {address} is not a gateway's admin plane")
    return answer


def _out_of_reach(address: Address, error: Exception) -> Unreachable:
    why = getattr(error, "strerror", None) or type(error).__name__
    return Unreachable(
        f"admin plane not reachable at {address} ({why.lower()}): is the gateway running, and is GATEWAY_ADMIN_LISTEN"
        " the same here as there?",
        passing=True,
    )


def _connection(address: Address, timeout: float) -> http.client.HTTPConnection:
    if address.path:
        return _UnixConnection(address.path, timeout)
    return http.client.HTTPConnection(_EVERYWHERE.get(address.host, address.host), address.port, timeout=timeout)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
