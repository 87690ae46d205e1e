"""A name server that changes its mind: one look-up a connection, all answers judged, and no second look-up before the connection."""

from collections.abc import Awaitable, Callable

import pytest

from tests.doors.wire import Answer
from tests.egress.inside import Inside, connect, fetch, proxied
from tests.egress.world import REDIRECT, End, World

pytestmark = pytest.mark.needs("ip", "unshare", "nsenter")

PUBLIC, OTHER, PUBLIC_6 = "8.8.8.80", "8.8.8.81", "2606:4700::80"
INNER, METADATA, INNER_6 = "10.0.0.7", "169.254.169.254", "fd00:ec2::254"
NAME = "a.turning.example"
Door = Callable[[World, Inside], Awaitable[Answer]]


async def by_fetch(there: World, gate: Inside) -> Answer:
    return await fetch(there, gate, f"http://{NAME}/")


async def by_proxy(there: World, gate: Inside) -> Answer:
    return await proxied(there, gate, f"http://{NAME}/")


async def by_tunnel(there: World, gate: Inside) -> Answer:
    return await connect(there, gate, f"{NAME}:80")


every_door = pytest.mark.parametrize("door", [by_fetch, by_proxy, by_tunnel])


def refused(answer: Answer) -> bool:
    """A denial never names the address that it protects."""
    assert not any(inner.encode() in answer.body for inner in (INNER, METADATA, INNER_6, "127.0.0.1", "::1"))
    return (answer.status, answer.header("Tool-Gateway-Reason")) == (403, "egress_not_allowed")


@every_door
async def test_a_name_that_turns_inward_is_judged_anew_for_each_connection(
    there: World, listed: Inside, door: Door
) -> None:
    there.names.answers[NAME] = [[PUBLIC], [INNER], [PUBLIC], [METADATA]]
    answers = [await door(there, listed) for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 403, 200, 403]
    assert refused(answers[1])
    assert there.names.look_ups() == {NAME: 4}
    assert there.syns[End(PUBLIC, 80)] == 2
    assert there.dialled(*listed.own) == {End(PUBLIC, 80)}


@every_door
async def test_what_was_judged_is_dialled_without_a_second_look_up(there: World, listed: Inside, door: Door) -> None:
    there.names.answers[NAME] = [[PUBLIC], [INNER]]
    assert (await door(there, listed)).status == 200
    assert there.names.look_ups() == {NAME: 1}
    assert there.dialled(*listed.own) == {End(PUBLIC, 80)}


@every_door
async def test_a_name_with_an_ipv6_address_is_dialled_there(there: World, listed: Inside, door: Door) -> None:
    there.names.answers[NAME] = [[PUBLIC_6]]
    assert (await door(there, listed)).status == 200
    assert there.dialled(*listed.own) == {End(PUBLIC_6, 80)}


async def test_all_addresses_of_one_look_up_are_tried(there: World, anywhere: Inside) -> None:
    beside = f"b.{NAME}"
    there.names.answers = {name: [[PUBLIC, OTHER, PUBLIC_6], [INNER]] for name in (NAME, beside)}
    for answer in (
        await fetch(there, anywhere, f"http://{NAME}:6379/"),  # where nobody listens
        await connect(there, anywhere, f"{beside}:6379"),
    ):
        assert (answer.status, answer.header("Tool-Gateway-Reason")) == (502, "upstream_failed")
    assert there.names.look_ups() == {NAME: 1, beside: 1}
    assert there.dialled(*anywhere.own) == {End(address, 6379) for address in (PUBLIC, OTHER, PUBLIC_6)}


@every_door
@pytest.mark.parametrize(
    "answers",
    [
        [PUBLIC, INNER],
        [INNER, PUBLIC],
        [PUBLIC, OTHER, METADATA],
        [PUBLIC, "::1"],
        [PUBLIC, INNER_6],
        [PUBLIC_6, INNER],
        [PUBLIC, "::ffff:10.0.0.7"],
        [PUBLIC, "64:ff9b::a00:7"],
        [PUBLIC, "0.0.0.0"],
        [PUBLIC_6, PUBLIC, "::"],
    ],
    ids=",".join,
)
async def test_one_inner_address_among_the_answers_refuses_the_name(
    there: World, listed: Inside, door: Door, answers: list[str]
) -> None:
    there.names.answers[NAME] = [answers]
    assert refused(await door(there, listed))
    assert there.names.look_ups() == {NAME: 1}
    assert there.dialled(*listed.own) == set()


@every_door
async def test_a_name_is_judged_by_where_its_aliases_end(there: World, listed: Inside, door: Door) -> None:
    there.names.aliases = {NAME: "b.elsewhere.example", "b.elsewhere.example": "c.elsewhere.example"}
    there.names.answers["c.elsewhere.example"] = [[PUBLIC], [INNER]]
    assert (await door(there, listed)).status == 200
    assert refused(await door(there, listed))
    assert there.names.look_ups() == {NAME: 2}
    assert there.dialled(*listed.own) == {End(PUBLIC, 80)}


async def test_a_name_that_is_not_listed_is_never_looked_up(there: World, listed: Inside) -> None:
    there.names.otherwise = [PUBLIC]
    for answer in (
        await fetch(there, listed, "http://unlisted.example/"),
        await proxied(there, listed, "http://unlisted.example/"),
        await connect(there, listed, "unlisted.example:443"),
        await connect(there, listed, f"{NAME}:22"),
    ):
        assert refused(answer)
    assert there.names.look_ups() == {}
    assert there.dialled(*listed.own) == set()


@every_door
async def test_a_name_that_leads_nowhere_is_an_upstream_that_failed(there: World, listed: Inside, door: Door) -> None:
    no_such_name = await door(there, listed)
    there.names.answers[NAME] = [[]]
    no_address = await door(there, listed)
    for answer in (no_such_name, no_address):
        assert (answer.status, answer.header("Tool-Gateway-Reason")) == (502, "upstream_failed")
    assert there.dialled(*listed.own) == set()


async def test_a_retry_is_judged_like_a_first_attempt(there: World, listed: Inside) -> None:
    there.names.answers[NAME] = [[PUBLIC], [INNER]]
    answer = await fetch(there, listed, f"http://{NAME}/cut", tool="http.head")
    assert refused(answer)
    assert there.names.look_ups() == {NAME: 2}
    assert there.dialled(*listed.own) == {End(PUBLIC, 80)}


async def test_every_redirect_is_looked_up_and_judged_anew(there: World, listed: Inside) -> None:
    there.names.answers[NAME] = [[PUBLIC], [INNER]]
    here = f"http://{NAME}/".encode().hex()
    assert refused(await fetch(there, listed, f"http://{NAME}{REDIRECT}{here}"))
    assert there.names.look_ups() == {NAME: 2}
    assert there.dialled(*listed.own) == {End(PUBLIC, 80)}


async def test_a_literal_is_looked_up_nowhere(there: World, listed: Inside) -> None:
    assert (await fetch(there, listed, "http://192.0.2.80/")).status == 200
    assert there.names.look_ups() == {}
