"""What HTTP itself asks of a request, whichever door it leads to: its form, its Host and its Origin. (Paths are judged in paths.py.)"""

import ipaddress
import re
from collections.abc import Container
from functools import lru_cache
from urllib.parse import urlsplit

from aiohttp.http import HttpVersion10, HttpVersion11
from aiohttp.web_request import BaseRequest

from gateway.denial import Denial, Reason
from gateway.doors.refusal import Refusal

HOST = re.compile(r"(?:[A-Za-z0-9._~-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
"""RFC 9110, 7.2, without escapes and sub-delims, which no real host name has."""


def check_http(request: BaseRequest) -> None:
    """What aiohttp's parser lets through and no door takes (SPEC 11, malformed HTTP). Raises Refusal."""
    if request.version not in (HttpVersion10, HttpVersion11):
        speak_http_1_1(request)
        raise malformed("The gateway speaks HTTP/1.1 and HTTP/1.0.", 505)
    if request.raw_path == "*":
        raise malformed("OPTIONS is not taken for the whole server.", 501)
    if request.method == "TRACE":
        raise malformed("TRACE is not taken.", 405)
    if request.headers.get("Transfer-Encoding", "chunked").lower() != "chunked":
        raise malformed("The only transfer coding known is chunked.", 501)  # the parser takes any that end in it
    expect = request.headers.get("Expect")
    if expect is not None and expect.lower() != "100-continue":
        raise malformed("The only expectation known is 100-continue.", 417)


def speak_http_1_1(request: BaseRequest) -> None:
    """aiohttp answers in the version a request names, and in HTTP/1.0 where it could not be read. Ours says what we are (RFC 9110, 2.5)."""
    request._cache["version"] = HttpVersion11  # noqa: SLF001  the status line is made from it, and there is no other way to it


def check_host(request: BaseRequest, allowed_origins: Container[str], *, on_loopback: bool) -> None:
    """Host and Origin, against DNS rebinding: a page of some other site must not reach a gateway on loopback (SPEC 2). Raises Refusal."""
    headers = request.headers
    host = headers.get("Host")
    if host is None:
        if request.version >= HttpVersion11:
            raise Refusal(Denial(Reason.INVALID_REQUEST, "The request has no Host header.", closes_connection=True))
    elif not well_formed(host):
        raise Refusal(Denial(Reason.INVALID_REQUEST, "The Host header is malformed.", closes_connection=True))
    elif on_loopback and not local_name(host):
        detail = "The gateway listens on loopback, so Host must be an IP address or localhost."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail, status_override=403))
    origin = headers.get("Origin")
    if origin is not None and origin not in allowed_origins and not loopback_origin(origin):
        detail = "Pages of this Origin may not call the gateway; the policy's allowed_origins can name it."
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail, status_override=403))


@lru_cache(maxsize=64)  # nearly every call names the same host
def well_formed(host: str) -> bool:
    """Has the Host header the form of RFC 9110, whatever it names?"""
    return HOST.fullmatch(host) is not None


@lru_cache(maxsize=64)
def local_name(host: str) -> bool:
    """An IP address or localhost, with or without a port."""
    name = host.partition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def loopback_origin(origin: str) -> bool:
    """`http://localhost:3000`, `http://127.0.0.1`, `http://[::1]:8080`; "null" is not."""
    try:
        name = urlsplit(origin).hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def malformed(detail: str, status: int) -> Refusal:
    """Refuses a request behind which the connection cannot be read any further."""
    return Refusal(Denial(Reason.INVALID_REQUEST, detail, status_override=status, closes_connection=True))
