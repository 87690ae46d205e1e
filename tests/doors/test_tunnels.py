"""CONNECT over sockets: the tunnel, whose first bytes are judged and whose life ends with the call's (SPEC 2, 6, 9 and 11)."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.both_ways import PIECE, BothWays
from gateway.denial import Reason
from gateway.model import Decision, Door, Effect
from gateway.pipeline import tunnelling
from gateway.upstreams.resolver import Resolver
from tests.doors.conftest import Running, StartGateway, policy_of
from tests.doors.wire import PATIENCE, Answer, Wire, ask, dial

HEAD = b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n"
"""What a caller may say in a tunnel to localhost: an HTTP request; anything may come behind it."""
ALERT = b"\x15\x03\x03\x00\x02\x02\x31"

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TargetServer:
    """What a tunnel leads to. It keeps what it was sent, as far as a test reads it."""

    def __init__(self) -> None:
        self.port = 0
        self.wires: list[Wire] = []
        self._opened: asyncio.Queue[Wire] = asyncio.Queue()

    async def wire(self) -> Wire:
        """The next connection that was opened to it."""
        async with asyncio.timeout(PATIENCE):
            return await self._opened.get()

    async def keep(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.wires.append(Wire(reader, writer))
        self._opened.put_nowait(self.wires[-1])


@asynccontextmanager
async def target(tls: ssl.SSLContext | None = None) -> AsyncIterator[TargetServer]:
    kept = TargetServer()
    server = await asyncio.start_server(kept.keep, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    kept.port = server.sockets[0].getsockname()[1]
    try:
        yield kept
    finally:
        server.close()
        for wire in kept.wires:
            wire.leave()


def policy(
    port: int, definition: dict[str, Any] | None = None, *, tools: dict[str, Any] | None = None, **sections: Any
) -> str:
    egress = {"allow_hosts": ["localhost", "127.0.0.1"], "ports": [port], "allow_private": ["127.0.0.0/8", "::1/128"]}
    return policy_of({"http.connect": definition or {}, **(tools or {})}, egress=egress, **sections)


def connect(to: str, *fields: str) -> bytes:
    return "\r\n".join([f"CONNECT {to} HTTP/1.1", f"Host: {to}", *fields, "\r\n"]).encode()


class Tunnel:
    """A caller's and a target's connection, and the gateway between."""

    def __init__(self, running: Running, caller: Wire, server: TargetServer) -> None:
        self.running = running
        self.caller = caller
        self.server = server
        self.head = Answer(0, [], b"")
        self.far: Wire

    async def established(self) -> None:
        status, headers = await self.caller.head()
        self.head = Answer(status, headers, b"")
        assert status == 200

    async def begin(self, first: bytes = HEAD) -> None:
        """The first bytes, which reach the target."""
        await self.caller.say(first)
        self.far = await self.server.wire()
        async with asyncio.timeout(PATIENCE):
            assert await self.far.reader.readexactly(len(first)) == first

    def hang_up(self) -> None:
        """Both sides close."""
        self.caller.leave()
        self.far.leave()

    async def connections_are_gone(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.running.gateway.data_plane.listener.connections:  # noqa: ASYNC110  there is no event for it
                await asyncio.sleep(0.005)


@asynccontextmanager
async def tunnel(
    start: StartGateway,
    definition: dict[str, Any] | None = None,
    *,
    host: str = "localhost",
    fields: tuple[str, ...] = (),
    early: bytes = b"",
    sections: dict[str, Any] | None = None,
    **variables: str,
) -> AsyncIterator[Tunnel]:
    """One that is answered with 200."""
    async with target() as server:
        running = await start(policy(server.port, definition, **(sections or {})), **variables)
        async with dial(running.gateway.data_url) as wire:
            opened = Tunnel(running, wire, server)
            await wire.say(connect(f"{host}:{server.port}", *fields) + early)
            await opened.established()
            yield opened


async def closed(wire: Wire) -> bytes:
    """What still comes until the end, however it ends."""
    return await wire.rest()


# Through it


async def test_bytes_pass_both_ways_and_are_counted(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        await through.far.say(b"from the target")
        assert await through.caller.reader.readexactly(15) == b"from the target"
        await through.caller.say(b"\x00\xff more")
        assert await through.far.reader.readexactly(7) == b"\x00\xff more"
        through.hang_up()
        record = await through.running.seen.ended()
        assert (record.door, record.tool, record.effect) == (Door.EGRESS, "http.connect", Effect.WRITE)
        assert (record.decision, record.reason, record.stop_reason) == (Decision.ALLOW, Reason.OK, None)
        assert (record.status, record.attempts, record.errors) == (200, 1, ())
        assert (record.bytes_in, record.bytes_out) == (len(HEAD) + 7, 15)
        assert record.target == f"localhost:{through.server.port}"
        await through.connections_are_gone()


async def test_the_answer_says_whose_call_it_is_and_has_no_body(start: StartGateway) -> None:
    async with tunnel(start) as through:
        names = {name.lower() for name, _ in through.head.headers}
        assert {"tool-gateway-call-id", "tool-gateway-policy", "tool-gateway-remaining"} <= names
        assert not {"content-length", "transfer-encoding", "connection"} & names
        assert through.head.header("Tool-Gateway-Reason") == "ok"
        assert through.head.header("Tool-Gateway-Attempts") == "1"


async def test_tls_is_spoken_between_the_caller_and_the_target_alone(start: StartGateway, tmp_path: Path) -> None:
    ca = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost").configure_cert(theirs)
    ours = ssl.create_default_context()
    ca.configure_trust(ours)
    async with target(theirs) as server:
        running = await start(policy(server.port))
        async with dial(running.gateway.data_url) as wire:
            await wire.say(connect(f"localhost:{server.port}"))
            assert (await wire.head())[0] == 200
            await wire.writer.start_tls(ours, server_hostname="localhost")
            far = await server.wire()
            big = bytes(range(256)) * 8192
            async with asyncio.timeout(PATIENCE):
                _, _, *came = await asyncio.gather(
                    wire.say(big), far.say(big), far.reader.readexactly(len(big)), wire.reader.readexactly(len(big))
                )
            assert came == [big, big]
            far.leave()
        record = await running.seen.ended()
        assert record.reason is Reason.OK
        assert min(record.bytes_in, record.bytes_out) > len(big)


async def test_what_came_behind_the_head_goes_to_the_target_first(start: StartGateway) -> None:
    async with tunnel(start, early=HEAD[:10]) as through:
        await through.caller.say(HEAD[10:] + b"and more")
        far = await through.server.wire()
        async with asyncio.timeout(PATIENCE):
            assert await far.reader.readexactly(len(HEAD) + 8) == HEAD + b"and more"


class Slow(Resolver):
    """Looks names up when it is told to."""

    def __init__(self) -> None:
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    async def lookup(self, host: str) -> list[str]:
        self.asked.set()
        await self.go.wait()
        return await super().lookup(host)


async def test_what_comes_before_the_answer_is_neither_lost_nor_left_lying(start: StartGateway) -> None:
    """aiohttp stops reading where much stands behind a request that it has yet to answer."""
    head = HEAD[:-2] + b"X: " + b"x" * 12_000 + b"\r\n\r\n"
    async with target() as server:
        running = await start(policy(server.port))
        slow = running.gateway.ways_out.outward._resolver = Slow()
        async with dial(running.gateway.data_url) as wire:
            await wire.say(connect(f"localhost:{server.port}"))
            await slow.asked.wait()
            await wire.say(head[:6_000])
            (connection,) = running.gateway.data_plane.listener.connections
            while connection.transport is not None and connection.transport.is_reading():  # noqa: ASYNC110  no event for it
                await asyncio.sleep(0.005)
            await wire.say(head[6_000:])
            slow.go.set()
            assert (await wire.head())[0] == 200
            far = await server.wire()
            async with asyncio.timeout(PATIENCE):
                assert await far.reader.readexactly(len(head)) == head


async def test_what_the_target_says_first_waits_for_the_callers_first_bytes(start: StartGateway) -> None:
    async with tunnel(start) as through:
        far = await through.server.wire()
        await far.say(b"220 welcome")
        await through.caller.say(HEAD)
        assert await far.reader.readexactly(len(HEAD)) == HEAD
        assert await through.caller.reader.readexactly(11) == b"220 welcome"


async def test_a_connection_that_was_used_before_can_become_a_tunnel(start: StartGateway) -> None:
    async with target() as server:
        running = await start(policy(server.port))
        async with dial(running.gateway.data_url) as wire:
            await wire.say(
                b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" + connect(f"localhost:{server.port}") + HEAD
            )
            assert (await wire.answer()).status == 200
            assert (await wire.head())[0] == 200
            assert await (await server.wire()).reader.readexactly(len(HEAD)) == HEAD


async def test_a_refused_connect_is_the_last_request(start: StartGateway) -> None:
    """What stands behind it was meant for the target."""
    async with target() as server:
        running = await start(policy(server.port))
        async with dial(running.gateway.data_url) as wire:
            await wire.say(connect("elsewhere.example:443") + b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = await wire.answer()
            assert (answer.status, answer.problem()["reason"]) == (403, "egress_not_allowed")
            assert answer.header("Connection") == "close"
            assert await closed(wire) == b""
        await running.seen.ended()


async def test_a_target_that_cannot_be_reached_is_a_denial_before_any_200(start: StartGateway) -> None:
    async with target() as server:
        running = await start(policy(server.port))
    async with dial(running.gateway.data_url) as wire:
        await wire.say(connect(f"localhost:{server.port}"))
        answer = await wire.answer()
        assert (answer.status, answer.problem()["reason"]) == (502, "upstream_failed")
    record = await running.seen.ended()
    assert (record.attempts, set(record.errors)) == (3, {"refused"})


# Its first bytes


def client_hello(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("name", ["other.example", None])
async def test_a_tls_client_that_means_another_server_gets_an_alert(start: StartGateway, name: str | None) -> None:
    async with tunnel(start) as through:
        await through.caller.say(client_hello(name))
        assert await closed(through.caller) == ALERT
        record = await through.running.seen.ended()
        assert (record.reason, record.errors, record.status) == (Reason.EGRESS_NOT_ALLOWED, ("sni_mismatch",), 200)
        assert (record.bytes_in, record.bytes_out) == (0, 0)
        assert record.detail is not None
        assert f"localhost port {through.server.port}" in record.detail
        assert "other.example" not in record.detail
        assert await closed(await through.server.wire()) == b""
        await through.connections_are_gone()


async def test_a_hello_that_comes_byte_by_byte_is_put_together(start: StartGateway) -> None:
    hello = client_hello("localhost")
    async with tunnel(start) as through:
        for at in range(len(hello)):
            await through.caller.say(hello[at : at + 1])
        far = await through.server.wire()
        async with asyncio.timeout(PATIENCE):
            assert await far.reader.readexactly(len(hello)) == hello


async def test_an_http_request_for_another_host_is_told_so(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.caller.say(b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n")
        answer = await through.caller.answer()
        assert (answer.status, answer.problem()["reason"]) == (403, "egress_not_allowed")
        assert answer.header("Tool-Gateway-Reason") == "egress_not_allowed"
        assert b"other.example" not in answer.body
        assert await closed(through.caller) == b""
        assert (await through.running.seen.ended()).errors == ("host_mismatch",)
        assert await closed(await through.server.wire()) == b""


async def test_anything_else_is_refused(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.caller.say(b"SSH-2.0-OpenSSH_9.2\r\n")
        assert await closed(through.caller) == b""
        record = await through.running.seen.ended()
        assert (record.reason, record.errors) == (Reason.EGRESS_NOT_ALLOWED, ("unknown_protocol",))
        assert "TLS or HTTP/1.1" in (record.detail or "")
        assert "Speak HTTPS or plain HTTP through it" in (record.detail or "")
        assert await closed(await through.server.wire()) == b""


@pytest.mark.parametrize("said", [b"", client_hello("localhost")[:40]], ids=["nothing", "part"])
async def test_first_bytes_that_do_not_come_in_time_end_it(start: StartGateway, said: bytes) -> None:
    async with tunnel(start, GATEWAY_READ_TIMEOUT="0.2", early=said) as through:
        assert await closed(through.caller) == b""
        record = await through.running.seen.ended()
        assert (record.reason, record.errors) == (Reason.INVALID_REQUEST, ("request_timeout",))
        assert "GATEWAY_READ_TIMEOUT" in (record.detail or "")
        assert await closed(await through.server.wire()) == b""


async def test_a_caller_that_closes_without_a_word_is_no_failure(start: StartGateway) -> None:
    async with tunnel(start) as through:
        through.caller.writer.write_eof()
        assert await closed(through.caller) == b""
        record = await through.running.seen.ended()
        assert (record.reason, record.bytes_in) == (Reason.OK, 0)
        await through.connections_are_gone()


async def test_report_mode_lets_pass_what_is_inside_and_says_so(start: StartGateway) -> None:
    async with tunnel(start, sections={"mode": "report"}) as through:
        assert through.head.header("Tool-Gateway-Mode") == "report"
        await through.begin(b"SSH-2.0-OpenSSH_9.2\r\n")
        through.hang_up()
        record = await through.running.seen.ended()
        assert (record.decision, record.report_reason) == (Decision.REPORT, Reason.EGRESS_NOT_ALLOWED)
        assert (record.reason, record.errors) == (Reason.OK, ("unknown_protocol",))


# How it ends


async def test_the_end_of_one_side_is_passed_on_and_the_other_may_finish(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        through.caller.writer.write_eof()
        assert await through.far.reader.read() == b""
        await through.far.say(b"the answer to all of it")
        through.far.writer.write_eof()
        assert await closed(through.caller) == b"the answer to all of it"
        record = await through.running.seen.ended()
        assert (record.reason, record.bytes_out) == (Reason.OK, 23)
        await through.connections_are_gone()


async def test_the_target_may_end_first(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        await through.far.say(b"bye")
        through.far.writer.write_eof()
        assert await closed(through.caller) == b"bye"
        await through.caller.say(b"as you like")
        through.caller.writer.write_eof()
        assert await through.far.reader.read() == b"as you like"
        assert (await through.running.seen.ended()).bytes_in == len(HEAD) + 11


@pytest.mark.parametrize("by_target", [True, False])
async def test_a_reset_of_one_side_resets_the_other(start: StartGateway, by_target: bool) -> None:
    async with tunnel(start) as through:
        await through.begin()
        one, other = (through.far, through.caller) if by_target else (through.caller, through.far)
        reset(one)
        with pytest.raises(ConnectionResetError):
            await other.reader.read()
        assert (await through.running.seen.ended()).reason is Reason.OK
        await through.connections_are_gone()


def reset(wire: Wire) -> None:
    """Leaves in the middle of something."""
    wire.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.leave()


async def test_a_kill_cuts_both_sides_at_once(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        await through.running.kill("tool:http.connect", cancel_in_flight=True)
        with pytest.raises(ConnectionResetError):
            await through.caller.reader.read()
        with pytest.raises(ConnectionResetError):
            await through.far.reader.read()
        record = await through.running.seen.ended()
        assert (record.reason, record.bytes_in) == (Reason.KILL_SWITCH, len(HEAD))
        await through.connections_are_gone()


async def test_a_kill_reaches_a_tunnel_whose_caller_has_not_spoken(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.running.kill("all", cancel_in_flight=True)
        assert await closed(through.caller) == b""
        assert (await through.running.seen.ended()).reason is Reason.KILL_SWITCH


async def test_a_kill_that_spares_what_is_at_work_spares_tunnels(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        await through.running.kill("writes")
        await through.far.say(b"still here")
        assert await through.caller.reader.readexactly(10) == b"still here"
        answer = await ask(through.running.gateway.data_url, connect(f"localhost:{through.server.port}"))
        assert answer.problem()["reason"] == "kill_switch"


async def test_it_ends_with_the_run_and_not_with_the_calls_deadline(start: StartGateway) -> None:
    async with tunnel(
        start,
        {"deadline_ms": 100, "timeout_ms": 100},
        fields=("Proxy-Authorization: Basic dGFzay0xOg==",),
        AGENT_MAX_SECONDS="1",
    ) as through:
        await through.begin()
        with pytest.raises(ConnectionResetError):
            await through.caller.reader.read()
        record = await through.running.seen.ended()
        assert (record.run_id, record.reason, record.stop_reason) == ("task-1", Reason.TOOL_TIMEOUT, "max_seconds")
        assert record.duration_ms > 500


async def test_silence_ends_it(start: StartGateway) -> None:
    async with tunnel(start, {"stream_idle_ms": 200}) as through:
        await through.begin()
        with pytest.raises(ConnectionResetError):
            await through.caller.reader.read()
        record = await through.running.seen.ended()
        assert (record.reason, record.stop_reason) == (Reason.TOOL_TIMEOUT, None)
        assert record.detail is not None
        assert "went silent for 200 ms" in record.detail


@pytest.mark.parametrize("by_target", [True, False])
async def test_behind_the_end_of_one_side_less_silence_ends_it(
    start: StartGateway, monkeypatch: pytest.MonkeyPatch, by_target: bool
) -> None:
    """A caller that has left altogether sends no more than one that is done asking."""
    monkeypatch.setattr(tunnelling, "HALF_CLOSED", 1.0)
    async with tunnel(start) as through:
        await through.begin()
        one, other = (through.far, through.caller) if by_target else (through.caller, through.far)
        one.writer.write_eof()
        assert await other.reader.read() == b""
        for _ in range(4):
            await asyncio.sleep(0.3)  # no wait for anything: these are the pauses that are asked about
            await other.say(b".")
        assert await one.reader.readexactly(4) == b"...."
        with pytest.raises(ConnectionResetError):
            await one.reader.read()
        record = await through.running.seen.ended()
        assert (record.reason, record.stop_reason) == (Reason.TOOL_TIMEOUT, None)
        assert "went silent for 1000 ms" in (record.detail or "")
        await through.connections_are_gone()


@pytest.mark.parametrize("by_target", [True, False])
async def test_bytes_either_way_are_no_silence(start: StartGateway, by_target: bool) -> None:
    async with tunnel(start, {"stream_idle_ms": 1000}) as through:
        await through.begin()
        one, other = (through.far, through.caller) if by_target else (through.caller, through.far)
        for _ in range(5):
            await asyncio.sleep(0.3)  # no wait for anything: these are the pauses that are asked about
            await one.say(b".")
        assert await other.reader.readexactly(5) == b"....."
        through.hang_up()
        assert (await through.running.seen.ended()).reason is Reason.OK


async def test_the_shutdown_cuts_what_still_runs(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        through.running.gateway.counts.in_flight.cut_all()
        with pytest.raises(ConnectionResetError):
            await through.caller.reader.read()
        assert (await through.running.seen.ended()).reason is Reason.DRAINING


async def test_a_gateway_that_stops_takes_its_tunnels_along(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        async with asyncio.timeout(PATIENCE):
            await through.running.gateway.data_plane.listener.shutdown(0.1)
        await closed(through.caller)
        await closed(through.far)
        await through.running.seen.ended()


async def test_an_idle_tunnel_is_no_traffic(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        in_flight, then = through.running.gateway.counts.in_flight, asyncio.get_running_loop().time() + 60
        quiet = in_flight.quiet_for(then)
        assert quiet > 59  # at work otherwise it would be 0
        await asyncio.sleep(0.01)  # the loop counts milliseconds
        await through.far.say(b"x")
        await through.caller.reader.readexactly(1)
        assert in_flight.quiet_for(then) < quiet


# What it costs


@pytest.mark.parametrize("to_target", [True, False])
async def test_a_slow_reader_has_the_gateway_hold_one_piece_and_gets_all(start: StartGateway, to_target: bool) -> None:
    async with tunnel(start) as through:
        await through.begin()
        one, other = (through.caller, through.far) if to_target else (through.far, through.caller)
        socket_of(other).pause_reading()
        await pour(one)
        assert 0 < sum(transport.get_write_buffer_size() for transport in ends(through)) <= PIECE
        socket_of(other).resume_reading()
        async with asyncio.timeout(PATIENCE):
            await other.reader.readexactly(one.poured)
        through.hang_up()
        await through.running.seen.ended()


def ends(through: Tunnel) -> list[asyncio.Transport]:
    """Both of the gateway's connections of the only tunnel there is."""
    (wait,) = through.running.gateway.counts.in_flight._waits
    assert isinstance(wait.tunnel, BothWays)
    assert wait.tunnel._caller is not None
    return [wait.tunnel._caller.transport, wait.tunnel._target.transport]


def socket_of(wire: Wire) -> asyncio.Transport:
    return wire.writer.transport  # type: ignore[return-value]  # typed as one that only writes


async def pour(wire: Wire) -> None:
    """Writes until nothing more is taken: neither by the kernel nor by the gateway."""
    piece = bytes(1 << 16)
    with suppress(TimeoutError):
        while True:
            wire.poured += len(piece)
            async with asyncio.timeout(0.5):
                await wire.say(piece)


async def test_every_tunnel_is_a_call_of_its_run(start: StartGateway) -> None:
    async with target() as server:
        running = await start(policy(server.port), AGENT_MAX_TOOL_CALLS="2")
        async with dial(running.gateway.data_url) as one, dial(running.gateway.data_url) as two:
            for wire in (one, two):
                await wire.say(connect(f"localhost:{server.port}", "Proxy-Authorization: Basic dGFzay0xOg=="))
                assert (await wire.head())[0] == 200
            answer = await ask(
                running.gateway.data_url, connect(f"localhost:{server.port}", "Proxy-Authorization: Basic dGFzay0xOg==")
            )
            assert (answer.status, answer.problem()["stop_reason"]) == (403, "max_tool_calls")
        assert len(server.wires) == 2


async def test_what_a_call_holds_is_given_back_once_the_tunnel_stands(start: StartGateway) -> None:
    async with tunnel(start) as through:
        await through.begin()
        assert through.running.gateway.buffers.held == 0
        assert len(through.running.gateway.counts.in_flight) == 1
