"""The way to the store is encrypted, and both sides are who they say they are.

The packaged server has no TLS: what ends it stands in front.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from gateway.place import parse_place
from gateway.state.stores import StoreError
from gateway.state.stores.keeper import open_store
from gateway.state.stores.valkey.link import explained
from gateway.state.stores.valkey.primary import FAILURES, connect
from tests.fleet.conftest import Start
from tests.fleet.topologies import answers, ask
from tests.fleet.valkey_server import ValkeyServer, free_port
from tests.scenarios.installation import call

CALLS_2 = {"runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 2}}}
Terminate = Callable[..., Awaitable[int]]


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return made


@pytest.fixture
async def terminate(authority: trustme.CA) -> AsyncIterator[Terminate]:
    """`terminate(to, port, name)`: ends TLS as `name`, with clients that the authority knows, and passes on what is inside."""
    passing: set[asyncio.Task[None]] = set()
    open_ends: list[asyncio.StreamWriter] = []
    servers: list[asyncio.Server] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(65536):
                writer.write(piece)
                await writer.drain()
        writer.close()

    async def begin(to: int, port: int = 0, name: str = "127.0.0.1") -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there, back = await asyncio.open_connection("127.0.0.1", to)
            open_ends.extend((writer, back))
            for way in (pump(reader, back), pump(there, writer)):
                passing.add(asyncio.create_task(way))

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(name).configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        servers.append(await asyncio.start_server(serve, "127.0.0.1", port, ssl=context))
        listening: int = servers[-1].sockets[0].getsockname()[1]
        return listening

    yield begin
    for server in servers:
        server.close()
    for end in open_ends:
        end.transport.abort()
    await asyncio.gather(*passing, *(end.wait_closed() for end in open_ends), return_exceptions=True)


@pytest.fixture
def files(authority: trustme.CA, tmp_path: Path) -> str:
    """As GATEWAY_STATE names them."""
    made = authority.issue_cert("gateway.internal")
    made.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    made.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    ca, cert, key = (tmp_path / name for name in ("ca.pem", "cert.pem", "key.pem"))
    return f"?ca_file={ca}&client_cert_file={cert}&client_key_file={key}"


async def test_gateways_share_a_store_behind_tls(
    start_fleet: Start, valkey: ValkeyServer, terminate: Terminate, files: str
) -> None:
    port = await terminate(valkey.port)
    fleet = await start_fleet(CALLS_2, gateways=2, state=f"valkeys://127.0.0.1:{port}/0{files}")
    await fleet.all_are(up=True)
    assert [await call(agent, "search.read", "r1") for agent in (*fleet.agents, fleet.agents[0])] == [
        (200, "ok"),
        (200, "ok"),
        (403, "max_tool_calls"),
    ]
    told = await fleet.kill(0, "all")
    assert told["reach"] == f"all instances on valkeys://127.0.0.1:{port}/0"


async def test_nodes_of_a_cluster_that_are_found_are_reached_over_tls_too(
    start_fleet: Start, tmp_path: Path, terminate: Terminate, files: str
) -> None:
    announced, bus = free_port(), free_port()
    options = ("--cluster-enabled", "yes", "--cluster-port", str(bus), "--cluster-announce-port", str(announced))
    node = ValkeyServer(tmp_path / "node", options)
    try:
        await node.begin()
        await ask(node.client(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        await answers(node.client(), "CLUSTER", "INFO", holds="cluster_state:ok")
        await terminate(node.port, announced)
        entrance = await terminate(node.port)
        fleet = await start_fleet(CALLS_2, gateways=1, state=f"rediss+cluster://127.0.0.1:{entrance}{files}")
        await fleet.all_are(up=True)
        assert await call(fleet.agents[0], "search.read", "r1") == (200, "ok")
    finally:
        await node.kill()


@pytest.mark.parametrize(
    ("name", "strange"),
    [("other.internal", "another's name"), ("127.0.0.1", "an authority"), ("127.0.0.1", "no client")],
    ids=lambda text: text,
)
async def test_who_cannot_prove_who_it_is_is_told_nothing(
    valkey: ValkeyServer, terminate: Terminate, files: str, name: str, strange: str
) -> None:
    port = await terminate(valkey.port, name=name)
    shown = {"another's name": files, "an authority": "", "no client": files.partition("&")[0]}[strange]
    with pytest.raises(FAILURES) as error:
        await connect(parse_place(f"rediss://127.0.0.1:{port}/1{shown}"))
    if strange != "no client":  # to which a server just closes, or says why, as it likes
        assert explained(error.value).startswith("does not agree on TLS")


@pytest.mark.parametrize("option", ["ca_file", "client_key_file", "password_file", "sentinel_password_file"])
def test_a_file_that_is_not_there_stops_the_start(files: str, option: str) -> None:
    files = f"{files}&password_file={__file__}&sentinel_password_file={__file__}"
    state = re.sub(
        f"&{option}=[^&]*", f"&{option}=missing", f"valkeys+sentinel://127.0.0.1:1/mymaster{files}".replace("?", "?&")
    )
    state = state.replace("?&", "?")
    with pytest.raises(StoreError) as error:
        open_store(state)
    assert str(error.value).startswith(f"GATEWAY_STATE: {option} cannot be read (no such file or directory): ")
