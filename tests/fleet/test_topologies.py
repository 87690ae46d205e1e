"""The store as operators run it: behind Sentinels and in a cluster, with a user of its own, over the death of a primary."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.model import KillSwitch, Scope
from gateway.place import parse_place
from gateway.state.stores import StoreError
from gateway.state.stores import valkey as valkey_stores
from gateway.state.stores.valkey import switches
from gateway.state.stores.valkey.fleet import Fleet
from gateway.state.stores.valkey.link import explained
from gateway.state.stores.valkey.primary import FAILURES, find
from gateway.state.stores.valkey.store import ValkeyStore
from gateway.state.stores.valkey.switches import SharedSwitches
from tests.doors.tool_server import ToolServer
from tests.fleet.conftest import Start
from tests.fleet.test_books import Books, fall_back_to_a_replica_that_lagged
from tests.fleet.topologies import PASSWORD, Cluster, Topology, Watched, answers, ask, rights, user
from tests.fleet.valkey_server import ValkeyServer, free_port
from tests.scenarios.installation import PATIENCE, call

CALLS_12 = {"runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 12}}}
ONE, OTHER = (KillSwitch(Scope("tool", f"{name}.*"), "too eager", "ops", 1.0) for name in ("one", "other"))
REFUSED = (403, "max_tool_calls")


KINDS: dict[str, Callable[[Path], Topology]] = {"sentinel": Watched, "cluster": Cluster}


KEY = {"Idempotency-Key": "payment-4711"}


@pytest.fixture(params=KINDS)
async def topology(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Topology]:
    made = KINDS[request.param](tmp_path / "servers")
    try:
        await made.begin()
        yield made
    finally:
        await made.end()


async def under_load(books: Books, happening: asyncio.Task[None]) -> None:
    """Until it is over and all are back, and some calls longer."""
    while not happening.done() or not all(fleet.up for fleet in books.fleets):
        books.charge(3)
        books.give_some_back()
        await asyncio.sleep(0.01)  # the pace of the calls


async def test_a_failover_under_load_doubles_and_drops_no_charge_and_kills_are_announced_as_before(
    monkeypatch: pytest.MonkeyPatch, topology: Topology
) -> None:
    monkeypatch.setattr(switches, "LOOKED_FOR_EVERY", 3600.0)
    books = Books(topology, 5)
    store, heard = ValkeyStore(parse_place(topology.url)), asyncio.Queue[tuple[KillSwitch, ...]]()
    listening = asyncio.create_task(SharedSwitches(store, books.fleets[0], heard.put_nowait).run())
    try:
        await books.all_up()
        await is_heard(ONE, heard, topology)
        books.charge(60)
        await books.settled()
        books.charge(30)  # under way while it happens
        async with asyncio.timeout(PATIENCE):
            happening = asyncio.create_task(topology.lose_the_primary())
            await under_load(books, happening)
            await books.all_back()
        books.charge(30)
        await books.settled()
        assert all(share.counted or share.gone for share in books.shares[-30:])
        await books.balance()
        assert books.expected()
        await is_heard(OTHER, heard, topology)
    finally:
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        await books.close()


async def is_heard(kill: KillSwitch, heard: asyncio.Queue[tuple[KillSwitch, ...]], topology: Topology) -> None:
    """By a gateway that does not look, from one that it knows nothing of."""
    store = ValkeyStore(parse_place(topology.url))
    channel = store.place.key("tgw:switches:version")
    await answers(topology.client(), "PUBSUB", "NUMSUB", channel, holds=f"{channel}', 1")
    store.switching(kill, on=True)
    async with asyncio.timeout(PATIENCE):
        while store.unwritten.unsaved:
            with suppress(StoreError):  # a Sentinel on a busy machine takes a primary for dead now and then
                await asyncio.to_thread(store.put_switch, kill)
        while kill not in await heard.get():
            pass


@pytest.mark.soak  # the same with a primary that only stood still, and believes for a while that it is one still
async def test_a_primary_that_comes_back_after_its_failover_is_told_nothing_that_counts(topology: Topology) -> None:
    books = Books(topology, 6)
    try:
        await books.all_up()
        for _ in range(3):
            books.charge(60)
            happening = asyncio.create_task(topology.stop_the_primary_for(4))
            await under_load(books, happening)
            books.charge(60)
            await books.balance()
            await topology.replicated()
        assert sum(share.counted for share in books.shares[-60:]) > 40
    finally:
        await books.close()


async def test_gateways_share_a_budget_and_a_kill_over_a_failover(
    start_fleet: Start, topology: Topology, tool: ToolServer
) -> None:
    fleet = await start_fleet(CALLS_12, gateways=2, state=topology.url)
    for number in range(6):
        assert await call(fleet.agents[number % 2], "search.read", "r1") == (200, "ok")
    assert await call(fleet.agents[0], "search.read", headers=KEY) == (200, "ok")
    assert await call(fleet.agents[1], "search.read", headers=KEY) == (200, "dedup")
    told = await fleet.kill(0, "tool:notes.write")
    assert told["reach"] == f"all instances on {parse_place(topology.url).scheme}://{told['reach'].partition('://')[2]}"
    assert PASSWORD not in str(told)
    await asyncio.sleep(0.25)  # within which a kill holds on all
    assert await call(fleet.agents[1], "notes.write") == (403, "kill_switch")
    await topology.lose_the_primary()
    for agent in fleet.agents:
        assert await call(agent, "search.read", "r1") == (503, "state_unavailable")
    await fleet.all_are(up=True)
    assert await call(fleet.agents[1], "search.read", headers=KEY) == (200, "dedup")
    calls = (call(fleet.agents[n % 2], "search.read", "r1") for n in range(20))
    assert Counter(await asyncio.gather(*calls)) == {(200, "ok"): 6, REFUSED: 14}
    assert tool.calls == 12 + 1
    await fleet.restore(1, "tool:notes.write")
    async with asyncio.timeout(PATIENCE):
        while await call(fleet.agents[0], "notes.write") != (200, "ok"):
            pass
    text = "".join(gateway.log.read_text() for gateway in fleet.gateways)
    assert PASSWORD not in text


async def test_a_replica_that_lagged_is_told_before_anything_is_charged(valkey: ValkeyServer) -> None:
    books = Books(valkey, 3)
    mine, other, _ = books.fleets
    await books.all_up()
    async with valkey.client() as client:
        before = await client.get("tgw:process")

    async def charged(fleet: Fleet, calls: int) -> int:
        shares = [fleet.charge(books.ask(alone=False)._replace(per_hour=10)) for _ in range(calls)]
        await asyncio.gather(*(share.heard for share in shares))
        return sum(share.counted for share in shares)

    try:
        assert await charged(mine, 5) == 5
        await fall_back_to_a_replica_that_lagged(valkey)  # where it will be
        await books.all_back()
        assert await charged(other, 5) == 5
        books.tasks[1].cancel()
        await fall_back_to_a_replica_that_lagged(valkey)
        async with asyncio.timeout(PATIENCE), valkey.client() as client:
            while await client.get("tgw:process") == before:  # noqa: ASYNC110  what another process did sets no event of ours
                await asyncio.sleep(0.01)
        books.tasks.append(asyncio.create_task(other.run()))  # the later of the two
        await mine.ready.wait()
        assert await charged(mine, 5) == 0
    finally:
        await books.close()


async def test_a_primary_that_its_sentinel_has_given_up_is_left_though_it_answers(
    tmp_path: Path, valkey: ValkeyServer
) -> None:
    watched = Watched(tmp_path / "servers")
    given_up, books = watched.primary, None
    try:
        await watched.begin()
        books = Books(watched, 8)
        await books.all_up()
        books.charge(30)
        await books.settled()
        await ask(valkey.client(), "ACL", "SETUSER", "gateway", "on", f">{PASSWORD}", *rights())
        await ask(watched.sentinel(), "SENTINEL", "REMOVE", "mymaster")
        await ask(watched.sentinel(), "SENTINEL", "MONITOR", "mymaster", "127.0.0.1", valkey.port, 1)
        watched.primary = valkey
        await books.all_back()
        books.charge(30)
        await books.settled()
        await books.balance()
    finally:
        await given_up.kill()
        if books is not None:
            await books.close()
        await watched.end()


async def test_the_reply_that_a_node_does_not_have_the_slot_leads_to_the_one_that_has(tmp_path: Path) -> None:
    """An operator moves the gateways' slot to another node."""
    cluster = Cluster(tmp_path / "servers")
    books = None
    try:
        await cluster.begin()
        books = Books(cluster, 9)
        await books.all_up()
        books.charge(30)
        await books.settled()
        await ask(cluster.replica.client(), "CLUSTER", "FAILOVER")
        cluster.primary, cluster.replica = cluster.replica, cluster.primary
        while (await find(parse_place(cluster.url))).port != cluster.primary.port:  # noqa: ASYNC110  what another process did sets no event of ours
            await asyncio.sleep(0.02)
        books.charge(3)
        await books.all_back()
        books.charge(30)
        await books.settled()
        await books.balance()
    finally:
        if books is not None:
            await books.close()
        await cluster.end()


async def test_a_gateway_ends_though_its_store_is_lost_in_that_moment(valkey: ValkeyServer) -> None:
    fleet = Fleet(parse_place(valkey.url), time.time)
    running = asyncio.create_task(fleet.run())
    await fleet.ready.wait()
    assert fleet.link is not None
    fleet.link.fail("is lost")
    running.cancel()
    done, _ = await asyncio.wait([running], timeout=PATIENCE)
    assert done


def test_the_rights_of_the_guide_are_those_that_are_used() -> None:
    named = {right[1:] for right in rights() if right.startswith("+")}
    sources = [path.read_text() for path in Path(valkey_stores.__file__).parent.glob("*.py")]
    in_scripts = {name.lower() for text in sources for name in re.findall(r"redis\.p?call\('(\w+)'", text)}
    of_the_client = {"evalsha", "eval", "script|load", "subscribe", "select", "set", "get", "hgetall", "cluster|slots"}
    assert named == in_scripts | of_the_client


async def test_a_wrong_password_is_said_to_be_wrong_by_a_cluster_too(tmp_path: Path) -> None:
    node = ValkeyServer(tmp_path / "node", ("--cluster-enabled", "yes", "--cluster-port", str(free_port()), *user()))
    try:
        await node.begin()
        with pytest.raises(FAILURES) as error:
            await find(parse_place(f"valkey+cluster://gateway:wrong@127.0.0.1:{node.port}"))
        assert explained(error.value) == "refuses the user or password of GATEWAY_STATE"
    finally:
        await node.kill()
