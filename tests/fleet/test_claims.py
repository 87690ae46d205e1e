"""Claims on calls with an Idempotency-Key as the store holds them: what of them stays, what is forgotten, what comes too late."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from gateway.denial import Denial, Reason
from gateway.model import Reply, RunKey
from gateway.place import parse_place
from gateway.state.ended import Elsewhere, Ended, Silence
from gateway.state.idempotency import AnswerKey, Answers
from gateway.state.stores.valkey import answers, link
from gateway.state.stores.valkey.answers import Claim, SharedAnswers
from gateway.state.stores.valkey.fleet import Fleet
from tests.fleet.slow_way import SlowWay
from tests.fleet.test_books import forget_everything
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE

RUN = RunKey("scout", "r1")


def key(name: str) -> AnswerKey:
    return AnswerKey("scout", "notes.write", name)


def answered(call_id: str, size: int = 2) -> Ended:
    return Ended(call_id, "hash", RUN, None, Reply(200, (("X-Odd", "\udcff"),), b"\x00" * size), sent=True)


def said(found: object) -> tuple[object, ...]:
    """All that comes of it. (Two replies are never equal.)"""
    assert isinstance(found, Ended)
    assert found.reply is not None
    return found._replace(reply=None), found.reply.status, found.reply.headers, found.reply.body


class Gateway:
    def __init__(self, url: str) -> None:
        self.bounds = Answers()
        self.fleet = Fleet(parse_place(url), time.time)
        self.answers = SharedAnswers(self.fleet, self.bounds)
        self.fleet.heeds = (self.answers.renew,)
        self._calls = 0
        self.running = [asyncio.create_task(self.fleet.run())]

    async def ask(self, name: str, *, safe: bool = False, alone: bool = False) -> Claim | Elsewhere | Ended | None:
        self._calls += 1
        holder = f"{id(self)}-{self._calls}"
        return await self.answers.claim(key(name), holder, "hash", safe=safe, alone=alone)

    async def claim(self, name: str, *, alone: bool = False) -> Claim:
        found = await self.ask(name, alone=alone)
        assert isinstance(found, Claim)
        return found

    async def heard(self) -> None:
        """All that was said so far."""
        await self.fleet.flush()

    async def told(self) -> None:
        """All that is to be told."""
        async with asyncio.timeout(PATIENCE):
            while self.answers._unheard:  # noqa: ASYNC110  what another process did sets no event of ours
                await asyncio.sleep(0.01)


@pytest.fixture
async def gateways(valkey: ValkeyServer) -> AsyncIterator[tuple[Gateway, Gateway]]:
    async with both(valkey.url) as (one, other):
        yield one, other


@asynccontextmanager
async def both(url: str) -> AsyncIterator[tuple[Gateway, Gateway]]:
    one, other = Gateway(url), Gateway(url)
    async with asyncio.timeout(PATIENCE):
        await one.fleet.ready.wait()
        await other.fleet.ready.wait()
    yield one, other
    for gateway in (one, other):
        for task in gateway.running:
            task.cancel()
        await asyncio.gather(*gateway.running, return_exceptions=True)


async def test_an_answer_comes_back_as_it_was(gateways: tuple[Gateway, Gateway]) -> None:
    one, other = gateways
    claim = await one.claim("k")
    claim.tell(answered(claim.holder), kept=True)
    claim.release()
    await one.heard()
    assert said(await other.ask("k")) == said(answered(claim.holder))


async def test_a_key_is_its_agents_and_its_tools_own(gateways: tuple[Gateway, Gateway]) -> None:
    one, other = gateways
    claim = await one.claim("k")
    claim.tell(answered(claim.holder), kept=True)
    await one.heard()
    strangers = [
        AnswerKey("snoop", "notes.write", "k"),
        AnswerKey("scout", "search.read", "k"),
        AnswerKey("scout", "notes.write", "K"),
    ]
    for number, stranger in enumerate(strangers):
        found = await other.answers.claim(stranger, f"other-{number}", "hash", safe=True, alone=False)
        assert isinstance(found, Claim)


async def test_an_end_that_is_not_kept_is_told_to_those_who_wait(gateways: tuple[Gateway, Gateway]) -> None:
    one, other = gateways
    claim = await one.claim("k")
    found = await other.ask("k")
    assert isinstance(found, Elsewhere)
    denial = Denial(Reason.CIRCUIT_OPEN, "Later.", retry_after=3.5)
    ended = Ended(claim.holder, "hash", RUN, denial, None, sent=False)
    claim.release(ended)
    await one.heard()
    assert await found.end() == ended
    assert isinstance(await other.ask("k"), Claim)


async def test_the_oldest_answers_of_an_agent_make_room_and_too_large_ones_are_not_kept(
    gateways: tuple[Gateway, Gateway],
) -> None:
    one, other = gateways
    one.bounds.max_bytes = 10_000
    for name in ("first", "second", "third"):
        claim = await one.claim(name)
        claim.tell(answered(claim.holder, 2000), kept=True)
    huge = await one.claim("huge")
    huge.tell(answered(huge.holder, 20_000), kept=True)
    await one.heard()
    assert isinstance(await other.ask("huge"), Claim)
    assert isinstance(await other.ask("first"), Claim)
    assert isinstance(await other.ask("second"), Ended)
    assert isinstance(await other.ask("third"), Ended)


async def test_long_answers_keep_no_reply_of_the_store_waiting(
    valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "REPLY_WITHIN", 1.0)
    async with SlowWay(valkey.port) as way, both(f"valkey://127.0.0.1:{way.port}/0") as (one, other):
        way.rate = 1.6e6  # 0.2 s each, 2 s all of them
        claims = [await one.claim(f"k{number}") for number in range(10)]
        for claim in claims:
            claim.tell(answered(claim.holder, 240_000), kept=True)
        await one.told()
        found = [await other.ask(f"k{number}") for number in range(10)]
        ends = [each.end() for each in found * 2 if isinstance(each, Elsewhere)]
        told = [said(answered(claim.holder, 240_000)) for claim in claims]
        assert [said(end) for end in await asyncio.gather(*ends)] == told * 2
        assert (one.fleet._telling.epoch, other.fleet._telling.epoch) == (1, 1)  # the connections of the beginning


async def test_of_too_many_answers_that_were_not_heard_stays_that_the_calls_were_performed(
    gateways: tuple[Gateway, Gateway], valkey: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "MOST_UNHEARD", 5000)
    one, other = gateways
    await valkey.kill()
    claims = [await one.claim(name, alone=True) for name in ("first", "second")]
    for claim in claims:
        claim.tell(answered(claim.holder, 3000), kept=True)
    await valkey.begin()
    async with asyncio.timeout(PATIENCE):
        await other.fleet.ready.wait()
    await one.told()
    whole = answered(claims[1].holder)
    assert said(await other.ask("first")) == said(answered(claims[0].holder, 3000))
    assert said(await other.ask("second")) == said(whole._replace(reply=Reply(200, (("X-Odd", "\udcff"),), None)))


async def test_an_answer_is_kept_as_long_as_the_policy_in_force_says(gateways: tuple[Gateway, Gateway]) -> None:
    one, other = gateways
    claim = await one.claim("k")
    claim.tell(answered(claim.holder), kept=True)
    await one.heard()
    assert isinstance(await other.ask("k"), Ended)
    other.bounds.ttl = 0.001
    async with asyncio.timeout(PATIENCE):
        while not isinstance(await other.ask("k"), Claim):
            pass


async def test_what_lies_unread_claims_nothing_that_was_let_go(
    gateways: tuple[Gateway, Gateway], valkey: ValkeyServer
) -> None:
    one, other = gateways
    valkey.pause()
    assert await one.ask("k") is None
    valkey.go_on()
    async with asyncio.timeout(PATIENCE):
        await one.fleet.ready.wait()
        await other.fleet.ready.wait()
    await one.heard()
    assert isinstance(await other.ask("k"), Claim)


async def test_a_claim_that_is_read_after_its_end_is_not_listened_to(gateways: tuple[Gateway, Gateway]) -> None:
    one, other = gateways
    claim = await one.claim("k")
    claim.release()
    assert one.fleet.link is not None
    late = await one.fleet.link.fetch("CLAIM", claim.keys[:2], *one.answers._claiming(claim, safe=False))
    assert late == "over"
    assert isinstance(await other.ask("k"), Claim)


async def test_a_claim_is_renewed_while_its_long_end_waits_for_another_to_be_told(
    gateways: tuple[Gateway, Gateway], valkey: ValkeyServer
) -> None:
    one, _ = gateways
    claim = await one.claim("k")
    one.answers._tells_long = True
    claim.tell(answered(claim.holder, 240_000), kept=True)
    async with valkey.client() as client:
        await client.hset(claim.keys[0], "until", "1")  # type: ignore[misc]  # the client's types know both of its kinds
        assert one.fleet.link is not None
        await one.answers.renew(one.fleet.link)
        await one.heard()
        assert int(await client.hget(claim.keys[0], "until") or 0) > 1  # type: ignore[misc]  # as above


async def test_a_claim_and_its_end_outlive_a_store_that_forgets_them(
    gateways: tuple[Gateway, Gateway], valkey: ValkeyServer
) -> None:
    one, other = gateways
    claim = await one.claim("k")
    await forget_everything(valkey)
    assert one.fleet.link is not None
    await one.answers.renew(one.fleet.link)
    await one.heard()
    assert isinstance(await other.ask("k"), Elsewhere)
    await forget_everything(valkey)
    claim.tell(answered(claim.holder), kept=True)
    await one.heard()
    assert said(await other.ask("k")) == said(answered(claim.holder))


async def test_what_was_performed_alone_is_known_once_the_store_is_back(
    gateways: tuple[Gateway, Gateway], valkey: ValkeyServer
) -> None:
    one, other = gateways
    await valkey.kill()
    claim = await one.claim("k", alone=True)
    claim.tell(answered(claim.holder), kept=True)
    assert await other.ask("k") is None
    await valkey.begin()
    async with asyncio.timeout(PATIENCE):
        await one.fleet.ready.wait()
        await other.fleet.ready.wait()
    await one.heard()
    assert said(await other.ask("k")) == said(answered(claim.holder))


async def test_a_claim_that_nobody_renews_is_left_behind(
    gateways: tuple[Gateway, Gateway], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "LEASE", 50)
    one, other = gateways
    await one.claim("k")
    found = await other.ask("k")
    assert isinstance(found, Elsewhere)
    assert await found.end() is Silence.GONE
    assert isinstance(await other.ask("k"), Elsewhere)  # it may have run
    assert isinstance(await other.ask("k", safe=True), Claim)


async def test_an_end_that_nobody_waits_for_takes_no_room(
    gateways: tuple[Gateway, Gateway], valkey: ValkeyServer
) -> None:
    one, other = gateways
    for waited_for in (False, True):
        claim = await one.claim("k")
        if waited_for:
            assert isinstance(await other.ask("k"), Elsewhere)
        claim.release(answered(claim.holder, 100_000))
        await one.heard()
        async with valkey.client() as client:
            told = await client.get(f"tgw:{{scout}}:end:{claim.holder}")
        assert (len(str(told)) > 100_000) is waited_for
