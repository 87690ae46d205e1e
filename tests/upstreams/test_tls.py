"""Encrypted upstreams: what is trusted, what is shown, and what a failure tells the operator."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme

from gateway.model import UpstreamError
from gateway.policy.snapshot import Tls
from tests.upstreams.calling import Names, an_attempt, upstream, whole
from tests.upstreams.loopback import Request, always, loopback, reply

NAMES = Names(**{"tools.internal": ["127.0.0.1"]})


@pytest.fixture(scope="module")
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(ca: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return str(path)


def server_side(ca: trustme.CA, *names: str, clients: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2", "http/1.1"])
    ca.issue_cert(*names).configure_cert(context)
    if clients:
        ca.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def encrypted(ca_file: str | None, **files: str) -> dict[str, object]:
    return {"scheme": "https", "host": "tools.internal", "tls": Tls(ca_file=ca_file, **files)}


async def test_a_certificate_of_the_ca_file_is_trusted_and_the_connection_kept(ca: trustme.CA, ca_file: str) -> None:
    context = server_side(ca, "tools.internal")
    shown: list[str | None] = []
    context.sni_callback = lambda _, name, __: shown.append(name)
    async with loopback(always(reply()), tls=context) as server:
        async with upstream(server.port, NAMES, **encrypted(ca_file)) as search:
            for _ in range(2):
                assert (await search.send(an_attempt())).body == b"ok"
            assert await search.probe() is None
        assert shown == ["tools.internal"] * 2  # one for both calls, one for the probe
        tls: ssl.SSLObject = server.requests[0].writer.get_extra_info("ssl_object")
        assert tls.selected_alpn_protocol() == "http/1.1"


BIG = bytes(range(256)) * 8_192  # 2 MiB
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n%b\r\n" % BIG[:1_000] * 200 + b"0\r\n\r\n"


@pytest.mark.parametrize(("said", "body"), [(b"\r\n" + BIG, BIG), (CHUNKED, BIG[:1_000] * 200)])
async def test_a_body_is_whole_although_its_reader_is_behind_when_the_connection_ends(
    ca: trustme.CA, ca_file: str, said: bytes, body: bytes
) -> None:
    async def answer(request: Request) -> None:
        await request.say(b"HTTP/1.1 200 OK\r\n" + said)
        request.writer.close()

    context, plan = server_side(ca, "tools.internal"), encrypted(ca_file)
    async with loopback(answer, tls=context) as server, upstream(server.port, NAMES, **plan) as search:
        got = await search.send(an_attempt())
        for _ in range(50):  # turns of the loop in which all that fits arrives
            await asyncio.sleep(0)
        assert await whole(got) == body


@pytest.mark.parametrize(("trusted", "name"), [(False, "tools.internal"), (True, "other.internal")])
async def test_a_certificate_that_does_not_verify_is_refused_with_the_remedy(
    ca: trustme.CA, ca_file: str, trusted: bool, name: str
) -> None:
    async with loopback(always(reply()), tls=server_side(ca, name)) as server:
        async with upstream(server.port, NAMES, **encrypted(ca_file if trusted else None)) as search:
            attempt = an_attempt()
            with pytest.raises(UpstreamError) as failed:
                await search.send(attempt)
            assert (failed.value.kind, failed.value.sent, attempt.sent) == ("tls", False, False)
            assert "tls.ca_file" in failed.value.detail
            problem = await search.probe()
            assert problem is not None
            assert "tls.ca_file" in problem.detail
            assert f"https://tools.internal:{server.port}" in problem.detail
            assert search.pool.opened == 0
        await server.closed()
        assert not server.requests


async def test_a_port_that_speaks_no_tls_is_told_so(ca_file: str) -> None:
    words = [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(words.pop())
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, upstream(server.sockets[0].getsockname()[1], NAMES, **encrypted(ca_file)) as search:
        while words:
            with pytest.raises(UpstreamError) as failed:
                await search.send(an_attempt())
            assert (failed.value.kind, failed.value.sent) == ("tls", False)
            assert "speaks TLS" in failed.value.detail


async def test_a_handshake_that_hangs_ends_with_the_connect_timeout_and_leaves_no_socket(ca_file: str) -> None:
    async with (
        loopback(always(reply())) as server,
        upstream(server.port, NAMES, connect_timeout=0.05, **encrypted(ca_file)) as search,
    ):
        with pytest.raises(UpstreamError) as failed:
            await search.send(an_attempt())
        assert (failed.value.kind, failed.value.sent) == ("connect_timeout", False)
        assert search.pool.opened == 0
        await server.closed()


async def test_cancelling_a_handshake_leaves_no_socket(ca_file: str) -> None:
    async with loopback(always(reply())) as server, upstream(server.port, NAMES, **encrypted(ca_file)) as search:
        task = asyncio.create_task(search.send(an_attempt()))
        await server.connected(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert search.pool.opened == 0
        await server.closed()


async def test_the_client_certificate_is_shown_to_an_upstream_that_asks(
    ca: trustme.CA, ca_file: str, tmp_path: Path
) -> None:
    shown = ca.issue_cert("gateway@tools.internal")
    shown.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    shown.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    files = {"client_cert_file": str(tmp_path / "cert.pem"), "client_key_file": str(tmp_path / "key.pem")}
    context, plan = server_side(ca, "tools.internal", clients=True), encrypted(ca_file, **files)
    async with loopback(always(reply()), tls=context) as server, upstream(server.port, NAMES, **plan) as search:
        assert (await search.send(an_attempt())).body == b"ok"


@pytest.mark.parametrize(
    ("tls", "key"),
    [
        (Tls(ca_file="/nowhere/ca.pem"), "tls.ca_file"),
        (Tls(client_cert_file="/nowhere/cert.pem"), "tls.client_cert_file"),
    ],
)
async def test_a_file_that_cannot_be_loaded_is_named_by_its_key(tls: Tls, key: str) -> None:
    async with upstream(1, NAMES, scheme="https", host="tools.internal", tls=tls) as search:
        with pytest.raises(UpstreamError) as failed:
            await search.send(an_attempt())
        assert (failed.value.kind, failed.value.sent) == ("tls", False)
        assert key in failed.value.detail
        assert "/nowhere" not in failed.value.detail
