"""Who gets in: the token, the Host and Origin rules, and the form of every error. Nothing here knows what the API does."""

import ipaddress
import re
from collections import deque
from collections.abc import Awaitable, Callable

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from gateway.admin.console.pages import is_page
from gateway.admin.problems import Refused, sealed
from gateway.admin.token import AdminToken
from gateway.model import Moment

Handler = Callable[[BaseRequest], Awaitable[StreamResponse]]

PROBES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Answered without a token and to any Host: kubelets, load balancers and Prometheus know neither."""

TOLD = frozenset({"/openapi.json"})
"""Answered without a token: it holds nothing of this gateway's."""

_FAILURES = 10
_WINDOW = 60.0
"""Seconds. More failures than that within them are 429."""


class Gate:
    """Stands before every handler."""

    def __init__(
        self,
        token: AdminToken,
        hosts: frozenset[str],
        clock: Callable[[], Moment],
        on_bug: Callable[[Exception], None],
        on_guesses: Callable[[int], None],
    ) -> None:
        """`on_guesses` is told of so many wrong tokens within a minute, once a minute at most."""
        self._token = token
        self._hosts = hosts
        self._clock = clock
        self._on_bug = on_bug
        self._on_guesses = on_guesses
        self._failures: deque[float] = deque(maxlen=_FAILURES)

    async def admit(self, request: BaseRequest, handler: Handler) -> StreamResponse:
        """Whatever happens, the answer is the handler's or one problem."""
        try:
            if request.path not in PROBES:
                self._check_host(request)
                self._check_origin(request)
                if not is_page(request.path) and request.path not in TOLD:
                    self._check_token(request)
            response = await handler(request)
        except Refused as refused:
            response = refused.response()
        except Exception as error:  # noqa: BLE001  # the rim: a bug must neither hang nor show its traceback
            self._on_bug(error)
            response = Refused(500, "The gateway failed to answer; its log has the place (internal_error).").response()
        return sealed(response)

    def _check_host(self, request: BaseRequest) -> None:
        """Against DNS rebinding: a page of another site that points its own name at this address is not answered."""
        hosts = request.headers.getall("Host", [])
        name = host_name(hosts[0]) if len(hosts) == 1 else None
        if name is None or not (name == "localhost" or name in self._hosts or _is_address(name)):
            raise Refused(
                403, "Host is neither an IP address nor localhost; name it in GATEWAY_ADMIN_HOSTS to allow it."
            )

    def _check_origin(self, request: BaseRequest) -> None:
        """There is no CORS: only pages that this plane served itself may call it."""
        origins = request.headers.getall("Origin", [])
        if not origins:
            return
        host = request.headers["Host"].lower()
        if len(origins) > 1 or origins[0].lower() not in (f"http://{host}", f"https://{host}"):
            raise Refused(403, "Pages of another origin may not call the admin plane.")

    def _check_token(self, request: BaseRequest) -> None:
        """The right token always passes: an agent that shares our address must not be able to lock the operator out by failing."""
        if self._token.current() is None:
            raise _unauthenticated(
                "No admin token is set: create var/admin_token (`tool-gateway init` does), or start the gateway with"
                " GATEWAY_ADMIN_TOKEN_FILE or GATEWAY_ADMIN_TOKEN."
            )
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not given.strip():
            raise _unauthenticated(f"The admin token is missing: {self._remedy()}")
        if not self._token.accepts(given.strip()):
            self._count_failure()
            raise _unauthenticated(f"This is not the admin token: {self._remedy()}")

    def _remedy(self) -> str:
        return f"send `Authorization: Bearer TOKEN`, where TOKEN is what {self._token.source} holds."

    def _count_failure(self) -> None:
        now = self._clock().mono
        if len(self._failures) == _FAILURES and now - self._failures[0] < _WINDOW:
            wait = max(1, round(_WINDOW - (now - self._failures[0])))
            raise Refused(429, "Too many attempts with a wrong admin token.", {"Retry-After": str(wait)})
        self._failures.append(now)
        if len(self._failures) == _FAILURES and now - self._failures[0] < _WINDOW:
            self._on_guesses(_FAILURES)


def host_name(host: str) -> str | None:
    """The name in a Host header, lower case, without port and brackets; None where it is malformed."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{0,5})?", host)
    return match[1].strip("[]").rstrip(".").lower() if match else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _unauthenticated(detail: str) -> Refused:
    return Refused(401, detail, {"WWW-Authenticate": 'Bearer realm="tool-gateway admin"'})
