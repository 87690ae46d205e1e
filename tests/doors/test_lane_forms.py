"""Heads that are taken for their likeness with others: each is understood as aiohttp's parser and the doors understand it."""

import asyncio
from itertools import count

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from gateway.doors.forms import put_together, taken_apart
from gateway.doors.lane import Lane
from gateway.doors.understood import Understood
from tests.doors.conftest import StartGateway, policy_of
from tests.doors.tool_server import ToolServer
from tests.doors.wire import dial, request

PEER = "127.0.0.1"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LINES = (
    "Agent-Run-Id: r1",
    "Agent-Step: 3",
    f"traceparent: {TRACE}",
    "tracestate: a=b",
    "X-Request-Id: q1",
    "Via: 1.1 me",
)
HEAD = request("POST /tools/search.read", *LINES, body=b"{}")[:-2]
trying = settings(max_examples=400, suppress_health_check=[*HealthCheck], deadline=None)


@pytest.fixture
async def lane(start: StartGateway) -> Lane:
    running = await start()
    lane = running.gateway.data_plane.listener.lane
    assert lane is not None
    return lane


def understand(lane: Lane, head: bytes) -> Understood | None:
    """Anew, with whatever body it asks for."""
    size = lane.learner.size_of(head)
    return None if size is None else lane.learner.understand(PEER, head.ljust(size, b" "))


def learn(lane: Lane, head: bytes) -> None:
    """As the lane does when such a head comes for the second time."""
    understood = understand(lane, head)
    assert understood is not None
    form = lane.learner.form(taken_apart(head)[0], head, understood)
    assert form is not None
    lane._known.remember(taken_apart(head)[0], form)


words = st.one_of(
    st.sampled_from([TRACE, TRACE.replace("0a", "1b"), "00-0-0-0", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "r2", "mcp-" + "a" * 32]),
    st.sampled_from(["0", "1", "2", "02", "7", "+2", "-1", "0x2", "2, 2", "2,2", "1000000", "1000001", "65536", "65537", "9" * 8, "9" * 9]),
    st.sampled_from(["", " ", "a b", "a\tb", " a", "a ", "a\r\n b", "a\r\n\tb", "a\nb", "a\rb", "a\0b"]),
    st.sampled_from(["a\x07", "\x7f", "caf\xe9", "%b", "%"]),
    st.sampled_from(["a\r\nHost: evil", "2\r\nContent-Length: 3", "2\r\nTransfer-Encoding: chunked", "x\r\n\r\n", "x" * 256, "x" * 257]),
    st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20),
    st.text(st.characters(max_codepoint=255), max_size=8),
)  # fmt: skip


@trying
@given(data=st.data())
async def test_what_is_told_from_a_form_is_what_the_doors_make_of_the_head(lane: Lane, data: st.DataObject) -> None:
    """Whatever stands in the place of its values, and whatever else is changed about it."""
    lane._known.forget()
    learn(lane, HEAD)
    shape, values = taken_apart(HEAD)
    assert put_together(shape, values) == HEAD
    for index in data.draw(st.lists(st.sampled_from(range(len(values))), max_size=3)):
        values[index] = data.draw(words).encode("latin-1")
    head = put_together(shape, values)
    for _ in range(data.draw(st.sampled_from([0, 0, 0, 1, 2]))):
        at = data.draw(st.integers(0, len(head) - 5))
        head = head[:at] + data.draw(st.sampled_from([b"", b" ", b"\r\n", b"\n", b"\0", b":", b"A"])) + head[at + 1 :]
    told = lane._known.find(head)
    event("known" if told is not None else "not known")
    if told is not None:
        anew = understand(lane, head)
        assert anew is not None
        assert told.is_like(anew)


@pytest.mark.parametrize(
    ("head", "changed"),
    [
        (HEAD, {"Agent-Run-Id: r1": "Agent-Run-Id: r2", "Content-Length: 2": "Content-Length: 65536"}),
        (HEAD, {"Agent-Step: 3": "Agent-Step: 0", TRACE: TRACE.replace("0a", "1b")}),
        (HEAD, {TRACE: "00-0-0-0", "a=b": "%s%%", "X-Request-Id: q1": "X-Request-Id: r1"}),
        (HEAD.replace(b"POST /", b"POST /runs/r9/"), {"Agent-Run-Id: r1": "Agent-Run-Id: r2"}),
        (HEAD.replace(b"Via: 1.1 me", b"Connection: X-Request-Id"), {"q1": "q2"}),
        (HEAD.replace(b"Content-Length: 2", b"content-length:2"), {"content-length:2": "content-length:77"}),
    ],
)
async def test_a_head_of_a_known_form_is_known(lane: Lane, head: bytes, changed: dict[str, str]) -> None:
    learn(lane, head)
    for old, new in changed.items():
        assert old.encode() in head
        head = head.replace(old.encode(), new.encode())
    told, anew = lane._known.find(head), understand(lane, head)
    assert told is not None
    assert anew is not None
    assert told.is_like(anew)
    call, same = told.call("c1", b"{}", told.arrival.started), anew.call("c1", b"{}", told.arrival.started)
    assert call == same


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Content-Length: 2", "Content-Length: 02"), ("Content-Length: 2", "Content-Length: 0"),
        ("Content-Length: 2", "Content-Length: 65537"), ("Content-Length: 2", "Content-Length: +2"),
        ("Content-Length: 2", "Content-Length: 2, 2"), ("Content-Length: 2", "Content-Length: 2\r\n 3"),
        ("Agent-Run-Id: r1", "Agent-Run-Id: r/1"), ("Agent-Run-Id: r1", "Agent-Run-Id: r1 "), ("Agent-Run-Id: r1", "Agent-Run-Id:"),
        ("Agent-Step: 3", "Agent-Step: x"), ("Agent-Step: 3", "Agent-Step: 1000001"), ("Agent-Step: 3", "Agent-Step: -1"),
        ("X-Request-Id: q1", "X-Request-Id: q1\r\nX-Request-Id: q2"), ("X-Request-Id: q1", "X-Request-Id: q\0"),
        ("X-Request-Id: q1", "X-Request-Id: a\r\n b"), ("X-Request-Id: q1", "X-Request-Id: a\nb"),
        ("X-Request-Id: q1", "X-Request-Id: \xe9"), ("X-Request-Id: q1", "x-request-id: q1"),
        ("X-Request-Id: q1", "X-Request-Id : q1"), ("Via: 1.1 me", "Via: 1.1 you"),
    ],
)  # fmt: skip
async def test_what_is_not_surely_alike_takes_a_closer_look(lane: Lane, old: str, new: str) -> None:
    learn(lane, HEAD)
    assert old.encode() in HEAD
    assert lane._known.find(HEAD) is not None
    assert lane._known.find(HEAD.replace(old.encode(), new.encode("latin-1"))) is None


async def test_a_header_of_the_policys_is_not_taken_for_the_callers_step(start: StartGateway) -> None:
    """It is the number that marks a step, and so is the step of the head that the form is made of."""
    rows = {"tools": {"url": "http://127.0.0.1:9", "headers": {"X-Most-Rows": "1000000"}}}
    running = await start(policy_of({"search.read": {"upstream": "tools"}}, upstreams=rows))
    lane = running.gateway.data_plane.listener.lane
    assert lane is not None
    learn(lane, request("GET /tools/search.read", "X-Mine: 1000000", "Agent-Step: 1000000"))
    told = lane._known.find(request("GET /tools/search.read", "X-Mine: 1000000", "Agent-Step: 7"))
    assert told is not None
    assert b"\r\nX-Most-Rows: 1000000\r\n" in told.opening
    assert b"\r\nX-Mine: 1000000\r\n" in told.opening


@pytest.mark.parametrize(
    ("first", "again", "value"),
    [
        ("traceparent:\t", "traceparent: ", TRACE),
        ("Agent-Step:  ", "agent-step: ", "1000000"),
        ("X-Request-Id:", "x-request-id: ", "q"),
    ],
)
async def test_where_a_header_stands_twice_no_form_is_made(lane: Lane, first: str, again: str, value: str) -> None:
    """In two spellings that the doors do not tell apart: it is the first that they read."""
    head = request("GET /tools/search.read", first + value, again + value)
    understood = understand(lane, head)
    assert understood is not None
    assert lane.learner.form(taken_apart(head)[0], head, understood) is None


async def test_where_the_trace_names_the_run_no_form_is_made(start: StartGateway) -> None:
    running = await start('{"tools": {"allowlist": ["search.read"]}, "runs": {"identify_by_trace": true}}')
    lane = running.gateway.data_plane.listener.lane
    assert lane is not None
    head = request("POST /tools/search.read", f"traceparent: {TRACE}", body=b"{}")[:-2]
    understood = understand(lane, head)
    assert understood is not None
    assert lane.learner.form(taken_apart(head)[0], head, understood) is None


async def test_a_head_that_comes_before_its_body_is_not_taken_for_two(start: StartGateway) -> None:
    """As many clients write them. What never comes again would be remembered with all that hangs on it."""
    running = await start()
    lane = running.gateway.data_plane.listener.lane
    assert lane is not None
    heads = [request("POST /tools/search.read", f"Agent-Run-Id: run-{number}", body=b"{}")[:-2] for number in range(6)]
    async with dial(running.gateway.data_url) as wire:
        for head in heads:
            await wire.say(head)
            while not running.gateway.buffers.held:  # noqa: ASYNC110  the gateway has no event for it, and needs none
                await asyncio.sleep(0.001)
            await wire.say(b"{}")
            assert (await wire.answer()).status == 200
    assert running.fast == len(heads)
    assert not any(lane._known._plain.find(head) for head in heads)


async def test_calls_whose_heads_always_differ_are_understood_twice(
    start: StartGateway, tool: ToolServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And once with marks. Each is passed on with what is its own."""
    running = await start()
    lane = running.gateway.data_plane.listener.lane
    assert lane is not None
    understood, real = count(), lane.learner.understand

    def counted(peer: str | None, request: bytes) -> Understood | None:
        next(understood)
        return real(peer, request)

    monkeypatch.setattr(lane.learner, "understand", counted)
    async with dial(running.gateway.data_url) as wire:
        for number in range(10):
            body = b'{"q": "%b"}' % (b"x" * number)
            fields = f"Agent-Run-Id: run-{number}", f"X-Request-Id: id-{number}", f"Agent-Step: {number}"
            await wire.say(request("POST /tools/search.read", *fields, body=body))
            assert (await wire.answer()).status == 200
    record = await running.seen.ended(10)
    assert (record.run_id, record.bytes_in) == ("run-9", 18)
    assert [received.headers["X-Request-ID"] for received in tool.received] == [f"id-{number}" for number in range(10)]
    assert next(understood) == 3
    assert running.fast == 10
