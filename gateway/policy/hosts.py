"""Host names, URLs and origins in one canonical form, so that what is judged is what is dialled. Pure: no name is looked up."""

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import urlsplit

_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label like this makes resolvers read the whole as an IPv4 address, however odd (`127.1`, `0x7f000001`)."""
_URL_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]|[^\x00-\x7f])+")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~:@!$&'()*+,;=-]+)*/?")
_LONGEST = 253
_LIKE_AN_IP = re.compile(r"[0-9a-fA-FxX.:]+")
USUAL_PORT = {"http": 80, "https": 443}


class BaseUrl(NamedTuple):
    """Where an upstream lives."""

    scheme: str
    host: str
    port: int
    path: str
    """Without a trailing slash; "" for none."""

    @property
    def origin(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == USUAL_PORT[self.scheme] else f":{self.port}")


def read_host(text: str) -> str:
    """A host name as lower-case A-labels without a final dot, or an IP literal without brackets.

    Raises ValueError with the remedy where the form is not canonical or no host at all.
    """
    if len(text) > _LONGEST:
        raise ValueError("a host name or IP address")
    if ":" in text:
        return _read_ip(text)
    try:
        host = text.removesuffix(".").encode("idna").decode().lower() if text else ""
    except UnicodeError:
        host = ""
    if not host or len(host) > _LONGEST:
        raise ValueError("a host name or IP address")
    if _NUMERIC.fullmatch(host.rsplit(".", 1)[-1]):
        return _read_ip(text)
    if not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise ValueError("a host name or IP address")
    return host


def _read_ip(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("an IP address in canonical form (127.0.0.1, ::1)") from None
    if _mapped(address):
        raise ValueError(f"an IP address in canonical form ({_mapped(address)})")
    if str(address) != text.lower() or "%" in text:
        raise ValueError("an IP address in canonical form (127.0.0.1, ::1)")
    return str(address)


def _mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address in IPv6 clothes, which dials the same socket: a rule that names the one form would never meet the other."""
    return address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None


def read_url(text: str) -> BaseUrl:
    """An upstream's address. Raises ValueError with what was expected; the text is never repeated, it may hold a password."""
    if "${" in text:
        raise ValueError("a URL written out: ${env:NAME} and ${file:PATH} are taken in headers and tokens only")
    if not _URL_CHARACTERS.fullmatch(text):
        raise ValueError("an http or https URL without blanks, control characters or backslashes")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("an http or https URL with a host and a port of 1..65535") from None
    if parts.scheme not in USUAL_PORT or not host or port == 0 or parts.netloc.endswith(":"):
        raise ValueError("an http or https URL with a host and a port of 1..65535")
    if "@" in parts.netloc:
        raise ValueError("a URL without user-info: credentials belong into headers, as ${env:NAME} or ${file:PATH}")
    if "?" in text or "#" in text:
        raise ValueError("a URL without query and fragment")
    dotted = any(part in (".", "..") for part in parts.path.split("/"))
    if not _PATH.fullmatch(parts.path) or dotted:
        raise ValueError("a URL whose path is plain: no escapes, dot segments or empty segments")
    return BaseUrl(parts.scheme, read_host(host), port or USUAL_PORT[parts.scheme], parts.path.rstrip("/"))


def read_endpoint(text: str) -> BaseUrl:
    """An MCP server's address: the whole path, with the trailing slash that some servers insist on. Raises ValueError like read_url."""
    url = read_url(text)
    return url._replace(path=url.path + "/") if url.path and text.endswith("/") else url


def read_origin(text: str) -> str:
    """A browser's Origin as it is compared: `https://app.example.com[:port]`. Raises ValueError with what was expected."""
    expected = "an origin like https://app.example.com"
    if not text.startswith(("http://", "https://")):
        raise ValueError(expected)
    try:
        url = read_url(text)
    except ValueError:
        raise ValueError(expected) from None
    if url.path or text.endswith("/"):
        raise ValueError(f"{expected}, without a path")
    return url.origin


def read_host_rule(text: str) -> str:
    """An entry of egress.allow_hosts: a host, `*.suffix` or `*`. Raises ValueError with what was expected."""
    if text == "*":
        return text
    expected = "a host name, *.suffix, * or an IP address, without scheme, port or path"
    prefix = "*." if text.startswith("*.") else ""
    try:
        host = read_host(text.removeprefix("*."))
    except ValueError as error:
        raise ValueError(expected if prefix or not _LIKE_AN_IP.fullmatch(text) else str(error)) from None
    if prefix and _NUMERIC.fullmatch(host.rsplit(".", 1)[-1]):
        raise ValueError(expected)
    return prefix + host


def read_block(text: str) -> str:
    """An entry of egress.allow_private: a CIDR block. Raises ValueError with what was expected."""
    expected = "a CIDR block like 10.0.0.0/8"
    if "/" not in text or "%" in text:
        raise ValueError(expected)
    try:
        nearest = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(expected) from None
    if nearest.prefixlen >= 96 and (inside := _mapped(nearest.network_address)):
        raise ValueError(f"{expected}, IPv4 as such ({inside}/{nearest.prefixlen - 96})")
    if nearest.network_address == ipaddress.ip_interface(text).ip:
        return str(nearest)
    raise ValueError(f"{expected} without host bits ({nearest})")


def is_own(host: str, port: int, listeners: frozenset[tuple[str, int]]) -> bool:
    """Would dialling this reach one of the gateway's own listeners? Names other than localhost are not looked up."""
    return any(port == own_port and _same_machine(host, own_host) for own_host, own_port in listeners)


def _same_machine(host: str, own: str) -> bool:
    wildcards = ("", "0.0.0.0", "::")  # noqa: S104 -- compared with, not bound to
    if host == own or (host in wildcards and (own in wildcards or _is_loopback(own))):
        return True
    if own in wildcards:
        return _is_loopback(host)
    return _is_local_name(host) and (_is_loopback(own) or _is_local_name(own))


def _is_local_name(host: str) -> bool:
    return host == "localhost" or host.endswith(".localhost")


def _is_loopback(host: str) -> bool:
    if _is_local_name(host):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (_mapped(address) or address).is_loopback
