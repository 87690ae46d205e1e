"""Whom a tunnel's first bytes are for. ClientHellos are OpenSSL's own, or put together by hand where it makes no such."""

import ssl
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Target
from gateway.policy.first_bytes import MOST, Finding, Protocol, judge

HOST = "api.example.com"
TARGET = Target("connect", HOST, 443, "")
IPV4, IPV6 = Target("connect", "192.0.2.1", 443, ""), Target("connect", "2001:db8::1", 443, "")
PLAIN = Target("connect", HOST, 80, "")
TLS, HTTP = Finding(Protocol.TLS), Finding(Protocol.HTTP)
GREASE = 0x0A0A
SERVER_NAME, ECH = 0, 0xFE0D


def openssl(name: str | None, alpn: Sequence[str] = ("h2", "http/1.1")) -> bytes:
    """The first flight of a real client."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols([*alpn])
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def sized(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def record(data: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    return bytes([kind]) + version.to_bytes(2, "big") + sized(data, 2)


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + sized(content, 2)


def server_name(name: bytes = HOST.encode(), kind: int = 0) -> bytes:
    return extension(SERVER_NAME, sized(bytes([kind]) + sized(name, 2), 2))


def message(*extensions: bytes, tail: bytes = b"") -> bytes:
    """A handshake message that is a ClientHello."""
    fixed = b"\x03\x03" + bytes(32) + sized(bytes(32), 1) + sized(b"\x13\x01\x13\x02", 2) + sized(b"\x00", 1)
    return b"\x01" + sized(fixed + sized(b"".join(extensions), 2) + tail, 3)


def hello(*extensions: bytes) -> bytes:
    return record(message(*extensions))


def kind(data: bytes, target: Target = TARGET) -> str | None:
    found = judge(data, target)
    assert found is not None
    return found.kind


# TLS


@pytest.mark.parametrize("name", [HOST, "API.Example.COM"])
def test_the_server_that_openssl_names_is_found(name: str) -> None:
    assert judge(openssl(name), TARGET) == TLS


def test_case_and_a_final_dot_are_no_difference() -> None:
    assert judge(hello(server_name(b"api.EXAMPLE.com.")), TARGET) == TLS


@pytest.mark.parametrize(
    "name", ["other.example.com", "example.com", "com", "xapi.example.com", "api.example.com.evil.org"]
)
def test_another_name_is_a_mismatch(name: str) -> None:
    assert kind(openssl(name)) == "sni_mismatch"


def test_a_name_must_be_named() -> None:
    assert kind(openssl(None)) == "sni_mismatch"
    assert (
        kind(record(b"\x01" + sized(b"\x03\x03" + bytes(33) + sized(b"\x13\x01", 2) + b"\x01\x00", 3)))
        == "sni_mismatch"
    )


@pytest.mark.parametrize("target", [IPV4, IPV6])
def test_to_an_address_no_name_is_named(target: Target) -> None:
    assert judge(openssl(None), target) == TLS
    assert kind(openssl(HOST), target) == "sni_mismatch"
    assert kind(hello(server_name(target.host.encode().replace(b":", b"."))), target) == "sni_mismatch"


def test_a_name_that_ends_in_a_digit_is_a_name() -> None:
    assert judge(openssl("node1"), Target("connect", "node1", 443, "")) == TLS
    assert kind(openssl(None), Target("connect", "node1", 443, "")) == "sni_mismatch"


def test_grease_is_let_be() -> None:
    assert judge(hello(extension(GREASE, b""), server_name(), extension(0x1A1A, b"\0")), TARGET) == TLS


def test_of_an_encrypted_hello_the_outer_name_counts() -> None:
    inner = extension(ECH, b"\0" + bytes(200))
    assert judge(hello(inner, server_name()), TARGET) == TLS
    assert kind(hello(inner, server_name(b"public.example.net"))) == "sni_mismatch"


def cut_short(data: bytes) -> bytes:
    """Its records and its message say that they are whole."""
    return record(b"\x01" + sized(data[9:], 3))


WHOLE = hello(server_name())


@pytest.mark.parametrize(
    "data",
    [
        hello(server_name(), server_name()),
        hello(server_name(), server_name(b"other.example")),
        hello(extension(GREASE, b""), extension(GREASE, b""), server_name()),
        hello(extension(SERVER_NAME, b"")),
        hello(extension(SERVER_NAME, sized(b"", 2))),
        hello(extension(SERVER_NAME, sized(b"\0" + sized(HOST.encode(), 2), 2) + b"\0")),
        hello(extension(SERVER_NAME, sized((b"\0" + sized(HOST.encode(), 2)) * 2, 2))),
        hello(extension(SERVER_NAME, sized(b"\0" + sized(HOST.encode(), 2) + b"\1" + sized(b"x", 2), 2))),
        hello(server_name(kind=1)),
        hello(server_name(b"")),
        hello(server_name(HOST.encode() + b"\0.evil.org")),
        hello(server_name("äpi.example.com".encode())),
        hello(server_name(b"a" * 300)),
        record(message(server_name(), tail=b"\0")),
        record(message(server_name())[:50]) + record(message(server_name())[50:] + b"\0"),
        record(b"\x01" + sized(message(server_name())[4:].replace(sized(bytes(32), 1), sized(bytes(33), 1)), 3)),
        record(b"\x01" + sized(message(server_name())[4:].replace(b"\0\4\x13\1\x13\2", b"\0\3\x13\1\x13"), 3)),
        record(message(server_name()) + b"\0"),
        record(message(server_name())) [:9] + b"\x02" + WHOLE[10:],
        record(b"\x02" + message(server_name())[1:]),
        record(message(server_name()), version=0x0401),
        record(message(server_name())[:50]) + record(b"\1", kind=20) + record(message(server_name())[50:]),
        record(message(server_name())[:50]) + record(b"") + record(message(server_name())[50:]),
        record(message(server_name()), kind=23),
        b"\x80\x2e\x01\x03\x01",  # SSL 2's
        b"".join(record(bytes([byte])) for byte in message(server_name())),
        b"\x16\x03\x01\xff\xff",
        record(b"\x01" + (MOST + 1).to_bytes(3, "big")),
    ],
)  # fmt: skip
def test_what_is_malformed_or_can_be_read_in_two_ways_is_refused(data: bytes) -> None:
    assert kind(data) == "unknown_protocol"


@given(st.integers(10, len(WHOLE) - 1))
def test_a_hello_that_ends_too_early_by_its_own_lengths_is_refused(end: int) -> None:
    assert kind(cut_short(WHOLE[:end])) in ("unknown_protocol", "sni_mismatch")


HELLOS = {name: openssl(name) for name in (HOST, "other.example.com", None)}


@given(st.sampled_from([*HELLOS]), st.lists(st.integers(1, 600), max_size=40))
def test_however_it_is_cut_into_records_it_says_the_same(name: str | None, cuts: list[int]) -> None:
    body = HELLOS[name][5:]
    edges = sorted({0, len(body), *(cut for cut in cuts if cut < len(body))})
    data = b"".join(record(body[a:b]) for a, b in pairwise(edges))
    assert judge(data, TARGET) == judge(HELLOS[name], TARGET)


REQUEST = b"GET /x HTTP/1.1\r\nAccept: */*\r\nHost: api.example.com:443\r\n\r\n"
FIRST = [
    *HELLOS.values(),
    REQUEST,
    REQUEST.replace(b"api", b"other"),
    b"SSH-2.0-x\r\n\r\n",
    hello(server_name(), server_name()),
]


@given(st.sampled_from(FIRST) | st.binary(max_size=200), st.binary(max_size=20), st.data())
def test_however_it_arrives_it_says_the_same(data: bytes, behind: bytes, draw: st.DataObject) -> None:
    """Once something can be said, nothing that comes later changes it, and all of the data says it too."""
    whole = data + behind
    at_once = judge(whole, TARGET)
    came = 0
    while came < len(whole):
        came = draw.draw(st.integers(came + 1, len(whole)))
        early = judge(whole[:came], TARGET)
        if early is not None:
            assert early == at_once
            return
    assert at_once is None


@given(st.binary(max_size=400), st.sampled_from([TARGET, IPV4, IPV6]))
def test_whatever_comes_is_judged_without_a_fault(data: bytes, target: Target) -> None:
    judge(data, target)
    judge(record(data), target)
    judge(record(b"\x01" + sized(data, 3)), target)
    judge(b"GET / HTTP/1.1\r\n" + data + b"\r\n\r\n", target)


# HTTP


def http(*lines: str, target: Target = PLAIN) -> Finding | None:
    return judge("\r\n".join([*lines, "\r\n"]).encode("latin-1"), target)


@pytest.mark.parametrize("host", [HOST, f"{HOST}:80", "API.example.COM.", "api.example.com:080"])
@pytest.mark.parametrize(
    "line", ["GET / HTTP/1.1", "POST /a?b HTTP/1.0", "OPTIONS * HTTP/1.1", f"GET http://{HOST}/ HTTP/1.1"]
)
def test_a_request_for_the_tunnels_host_passes(line: str, host: str) -> None:
    assert http(line, f"Host: {host}", "Accept: */*") == HTTP


@pytest.mark.parametrize(
    ("host", "target"),
    [("192.0.2.1", IPV4), ("192.0.2.1:443", IPV4), ("[2001:db8::1]", IPV6), ("[2001:DB8:0::1]:443", IPV6)],
)
def test_an_address_is_its_own_host(host: str, target: Target) -> None:
    assert http("GET / HTTP/1.1", f"Host: {host}", target=target) == HTTP


@pytest.mark.parametrize(
    "lines",
    [
        ["GET / HTTP/1.1", "Host: other.example"],
        ["GET / HTTP/1.1", f"Host: {HOST}:81"],
        ["GET / HTTP/1.1", "Host:"],
        ["GET / HTTP/1.1", f"Host: {HOST}, other.example"],
        ["GET / HTTP/1.1", f"Host: user@{HOST}"],
        ["GET / HTTP/1.1", f"Host: {HOST}/other.example"],
        ["GET / HTTP/1.1", "Host: 0x7f.1"],
        ["GET http://other.example/ HTTP/1.1", f"Host: {HOST}"],
        [f"GET http://{HOST}@other.example/ HTTP/1.1", f"Host: {HOST}"],
    ],
)
def test_a_request_for_another_host_is_a_mismatch(lines: list[str]) -> None:
    found = http(*lines)
    assert found is not None
    assert found.kind == "host_mismatch"
    assert "other" not in found.rule.replace("another", "")


@pytest.mark.parametrize(
    "lines",
    [
        ["GET / HTTP/1.1"],
        ["GET / HTTP/1.1", f"Host: {HOST}", f"Host: {HOST}"],
        ["GET / HTTP/1.1", f"Host: {HOST}", " folded: other.example"],
        ["GET / HTTP/1.1", "X: a\nHost: other.example", f"Host: {HOST}"],
        ["GET / HTTP/1.1", f"Host : {HOST}"],
        [f"CONNECT {HOST}:443 HTTP/1.1", f"Host: {HOST}"],
        [f"GET https://{HOST}/ HTTP/1.1", f"Host: {HOST}"],
        ["GET / HTTP/2.0", f"Host: {HOST}"],
        ["PRI * HTTP/2.0"],
        ["GET  / HTTP/1.1", f"Host: {HOST}"],
        ["GET /\t HTTP/1.1", f"Host: {HOST}"],
        ["GET /", f"Host: {HOST}"],
        ["", "GET / HTTP/1.1", f"Host: {HOST}"],
        ["GET / HTTP/1.1", f"Host: {HOST}", "X: " + "x" * MOST],
    ],
)
def test_a_request_that_is_malformed_or_says_two_things_is_refused(lines: list[str]) -> None:
    found = http(*lines)
    assert found is not None
    assert found.kind == "unknown_protocol"


@pytest.mark.parametrize(
    "data",
    [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x05\x01\x00", b"\x04\x01", b"\n", b" GET", b"EHLO x\r\n", b"\x17\x03\x03", b"\x00", b"\xff", b"x" * 33],
)  # fmt: skip
def test_other_protocols_are_refused_at_once(data: bytes) -> None:
    assert kind(data) == "unknown_protocol"


@pytest.mark.parametrize("data", [b"", b"G", b"GET / HT", REQUEST[:-1], b"\x16", WHOLE[:4], WHOLE[:-1]])
def test_nothing_is_said_too_early(data: bytes) -> None:
    assert judge(data, TARGET) is None


def test_no_sentence_repeats_what_was_said() -> None:
    for data in (
        hello(server_name(b"secret.example")),
        REQUEST.replace(b"api.example.com", b"secret.example"),
        b"SECRET\r\n",
    ):
        found = judge(data, TARGET)
        assert found is not None
        assert found.kind is not None
        assert "secret" not in found.rule.lower()
