"""Where a fetch, a proxied request or a tunnel goes, brought once into the form that is judged, dialled and logged. Pure.

Reasons name what is wrong, never what was written: a URL may hold a secret.
"""

import ipaddress
import re
from urllib.parse import quote, urljoin

from gateway.model import Target
from gateway.policy.hosts import USUAL_PORT, read_host
from gateway.policy.snapshot import Egress

TUNNEL = "connect"
"""The scheme of a Target that only bytes go to: of a CONNECT."""
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^#]*)(?:#.*)?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::([0-9]{1,5}))?")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))


def parse_target(url: str) -> Target:
    """The one form of an absolute URL. Raises ValueError with a one-line reason.

    Every spelling of an IPv4 address but the dotted one is refused, since resolvers read them as addresses; IPv6 literals become
    canonical, and IPv4 in IPv6 clothes becomes IPv4.
    """
    if _UNPRINTABLE.search(url):
        raise ValueError("the URL holds a blank or a control character")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("the URL is not absolute: it must start with http:// or https://")
    scheme, authority, path = match[1].lower(), match[2], match[3]
    if scheme not in USUAL_PORT:
        raise ValueError("the URL's scheme is neither http nor https")
    if "@" in authority:
        raise ValueError("the URL holds user-info: send credentials as headers")
    return Target(scheme, *_host_and_port(authority, USUAL_PORT[scheme]), _path(path))


def parse_tunnel(authority: str) -> Target:
    """The one form of what a CONNECT names: `host:port`, the port always written. Raises ValueError with a one-line reason."""
    return Target(TUNNEL, *_host_and_port(authority), "")


def follow(target: Target, location: str) -> Target:
    """Where a redirect from `target` leads. Raises ValueError with a one-line reason."""
    if _UNPRINTABLE.search(location):
        raise ValueError("the redirect holds a blank or a control character")
    if _SCHEME.match(location):
        return parse_target(location)
    if location.startswith("//"):
        return parse_target(f"{target.scheme}:{location}")
    return target._replace(path=_path(urljoin(target.path, location.partition("#")[0])))


def host_allowed(egress: Egress, host: str) -> bool:
    """Does `egress.allow_hosts` list this (normalised) host? Says nothing of the address behind the name."""
    if egress.any_host or host in egress.hosts:
        return True
    dot = host.find(".")
    while dot != -1:
        if host[dot + 1 :] in egress.suffixes:
            return True
        dot = host.find(".", dot + 1)
    return False


def authority(target: Target) -> str:
    """The value of the Host header: the port only where it is not the scheme's own."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == USUAL_PORT[target.scheme] else f"{host}:{target.port}"


def written(target: Target) -> str:
    """As the log shows it, the port always written; of a tunnel `host:port`."""
    host = f"[{target.host}]" if ":" in target.host else target.host
    return (
        f"{host}:{target.port}" if target.scheme == TUNNEL else f"{target.scheme}://{host}:{target.port}{target.path}"
    )


def _host_and_port(authority: str, usual: int = 0) -> tuple[str, int]:
    """`usual`: the port where none is written; 0: one has to be."""
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None or not 1 <= (port := int(parts[2] or usual)) <= 65_535:
        raise ValueError("the host and port are malformed")
    return _host(parts[1]), port


def _host(text: str) -> str:
    if text.startswith("["):
        return _ipv6(text[1:-1])
    if "%" in text:
        raise ValueError("the host is percent-encoded")
    try:
        return read_host(text)
    except ValueError as error:
        raise ValueError(f"the host is not {error}") from None


def _ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("the host is not an IPv6 address") from None
    if address.scope_id is not None:
        raise ValueError("the host has a zone id, which only means something on one machine")
    return str(address.ipv4_mapped or address)


def _path(text: str) -> str:
    """Unchanged, but characters beyond ASCII as the escapes HTTP needs."""
    try:
        path = quote(text, safe=_ASCII)
    except UnicodeEncodeError:
        raise ValueError("the URL's path is not Unicode") from None
    return path if path.startswith("/") else "/" + path
