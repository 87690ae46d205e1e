"""Whom do the first bytes in a tunnel address? The server name of a TLS ClientHello, or the Host of an HTTP request. Pure.

An allowed host is one of many behind the address of a content network, which goes by these names alone. Fails closed: what is neither TLS
nor HTTP/1, is malformed, or can be read in two ways is refused. What follows the first bytes is not looked at.
"""

import re
from enum import StrEnum
from typing import NamedTuple

from gateway.model import Target
from gateway.policy.targets import parse_target

MOST = 16 * 1024
"""Bytes of a ClientHello, or of a request's head. Real ones have up to 2 KiB with post-quantum keys, a few more with tickets."""
_MOST_RECORDS = 64
"""A ClientHello in more of them than this is no client's."""
_HANDSHAKE, _CLIENT_HELLO = 22, 1
_LARGEST_RECORD = 1 << 14
_SERVER_NAME = 0
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,254}")
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}")
_REQUEST = re.compile(rb"[^ ]+ [!-~]+ HTTP/1\.[01]")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp]://([^/?#]*)(?:[/?#].*)?")
_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")


class Protocol(StrEnum):
    """What is spoken."""

    TLS = "tls"
    HTTP = "http"
    OTHER = "other"


class Finding(NamedTuple):
    """What the first bytes are, once enough of them have come."""

    protocol: Protocol
    kind: str | None = None
    """None: they are for the tunnel's target. Else what the log calls it: `sni_mismatch`, `host_mismatch`, `unknown_protocol`."""
    rule: str = ""
    """The part of a sentence that says which rule they break. It repeats nothing of them."""


class _Malformed(Exception):
    """Its text is the rule that is broken."""


def judge(data: bytes, target: Target) -> Finding | None:
    """None: more has to come before it can be said."""
    if not data:
        return None
    if data[0] == _HANDSHAKE:
        return _judge_tls(data, target)
    return _judge_http(data, target)


def _unknown(rule: str, protocol: Protocol = Protocol.OTHER) -> Finding:
    return Finding(protocol, "unknown_protocol", rule)


# -- TLS


def _judge_tls(data: bytes, target: Target) -> Finding | None:
    try:
        hello = _client_hello(data)
        if hello is None:
            return None
        name = _server_name(_Reader(hello))
    except _Malformed as error:
        return _unknown(str(error), Protocol.TLS)
    if (
        ":" in target.host or target.host.rpartition(".")[2].isdigit()
    ):  # an IP literal: no name ends so (policy/hosts.py)
        if name is not None:
            return Finding(Protocol.TLS, "sni_mismatch", "TLS to an IP address names no server (SNI), and this did")
        return Finding(Protocol.TLS)
    if name is None:
        return Finding(
            Protocol.TLS, "sni_mismatch", "TLS must name the tunnel's host as its server (SNI), and named none"
        )
    if name.decode().lower().removesuffix(".") != target.host:
        return Finding(
            Protocol.TLS, "sni_mismatch", "TLS must name the tunnel's host as its server (SNI), and named another"
        )
    return Finding(Protocol.TLS)


def _client_hello(data: bytes) -> bytes | None:
    """The body of the handshake's first message, put together from its records; None while some are missing."""
    message, at = b"", 0
    for _ in range(_MOST_RECORDS):
        head = data[at : at + 5]
        if head[:1] not in (b"", b"\x16") or head[1:2] not in (b"", b"\x03"):
            raise _Malformed("the TLS records do not hold a ClientHello")
        if len(head) < 5:
            return None
        size = int.from_bytes(head[3:5], "big")
        if not 0 < size <= _LARGEST_RECORD:
            raise _Malformed("the TLS records do not hold a ClientHello")
        message += data[at + 5 : at + 5 + size]
        if message and message[0] != _CLIENT_HELLO:
            raise _Malformed("the TLS handshake does not begin with a ClientHello")
        length = int.from_bytes(message[1:4], "big")
        if len(message) >= 4 and length > MOST:
            raise _Malformed(f"the TLS ClientHello is larger than {MOST} bytes")
        at += 5 + size
        if len(data) < at:
            return None
        if len(message) >= 4 and len(message) >= 4 + length:
            if len(message) > 4 + length:
                raise _Malformed("something stands behind the ClientHello in its TLS record")
            return message[4:]
    raise _Malformed("the TLS ClientHello is in too many records")


class _Reader:
    """Takes a message apart. Raises _Malformed where it is shorter than it says."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise _Malformed("the TLS ClientHello is malformed")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size_of_length: int, *, least: int = 0) -> "_Reader":
        """A part whose length stands before it."""
        length = self.number(size_of_length)
        if length < least:
            raise _Malformed("the TLS ClientHello is malformed")
        return _Reader(self.take(length))

    def end(self) -> None:
        if self.left:
            raise _Malformed("the TLS ClientHello is malformed")


def _server_name(hello: _Reader) -> bytes | None:
    """What the ClientHello (RFC 8446, 4.1.2) asks for in the clear. Behind ECH that is the outer one, which is all that can be judged."""
    if hello.number(1) != 3:
        raise _Malformed("the TLS ClientHello is malformed")
    hello.take(1 + 32)
    if hello.vector(1).left > 32 or hello.vector(2, least=2).left % 2:
        raise _Malformed("the TLS ClientHello is malformed")
    hello.vector(1, least=1)
    if not hello.left:
        return None
    extensions = hello.vector(2)
    hello.end()
    name, seen = None, set[int]()
    while extensions.left:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in seen:
            raise _Malformed("the TLS ClientHello has an extension twice")
        seen.add(kind)
        if kind == _SERVER_NAME:
            name = _host_name(content)
    return name


def _host_name(content: _Reader) -> bytes:
    """RFC 6066, 3: there is one kind of name, and one of each kind."""
    names = content.vector(2, least=1)
    content.end()
    kind, name = names.number(1), names.vector(2, least=1)
    names.end()
    text = name.take(name.left)
    if kind != 0 or not _NAME.fullmatch(text):
        raise _Malformed("the TLS ClientHello's server name is malformed")
    return text


# -- HTTP


def _judge_http(data: bytes, target: Target) -> Finding | None:
    head, whole, _ = data.partition(b"\r\n\r\n")
    first, line, _ = head.partition(b"\r\n")
    if not _METHOD.fullmatch(first.partition(b" ")[0]) or ((line or whole) and not _REQUEST.fullmatch(first)):
        return _unknown("a tunnel carries TLS or HTTP/1.1, and it began with neither")
    if len(head) > MOST:
        return _unknown(f"the head of the HTTP request in it is larger than {MOST} bytes", Protocol.HTTP)
    if not whole:
        return None
    try:
        hosts = _hosts(head)
    except _Malformed as error:
        return _unknown(str(error), Protocol.HTTP)
    if not all(_is_target(host, target) for host in hosts):
        return Finding(
            Protocol.HTTP,
            "host_mismatch",
            "an HTTP request in it must name the tunnel's host (Host), and named another",
        )
    return Finding(Protocol.HTTP)


def _hosts(head: bytes) -> list[bytes]:
    """All that a request says of its host: the Host header, and an absolute target."""
    first, *lines = head.split(b"\r\n")
    fields = [_FIELD.fullmatch(line) for line in lines]
    hosts = [field[2].rstrip(b" \t") for field in fields if field is not None and field[1].lower() == b"host"]
    if None in fields or len(hosts) != 1:
        raise _Malformed("the HTTP request in it is malformed, or has not one Host")
    asked = first.split(b" ")[1]
    if asked.startswith(b"/") or asked == b"*":
        return hosts
    absolute = _ABSOLUTE.fullmatch(asked)
    if absolute is None:
        raise _Malformed("the HTTP request in it asks for another proxy's service")
    return [*hosts, absolute[1]]


def _is_target(host: bytes, target: Target) -> bool:
    """A port may be left out, as careless clients do: what the rule is about is the name."""
    parts = _HOST.fullmatch(host)
    if parts is None or (parts[2] and int(parts[2]) != target.port):
        return False
    try:
        return parse_target(f"http://{parts[1].decode()}/").host == target.host
    except ValueError:
        return False
