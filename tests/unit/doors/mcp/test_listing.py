import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.doors.mcp.listing import ListError, filtered, may_list

WEATHER = '{ "name" : "weather", "big": 123456789012345678901234567890, "\\u0061": [1.50, "gr\u00f6\u00dfe"], "_meta":{"x":{}}}'
SECRET = '{"name":"secret","inputSchema":{"type":"object"}}'


def named(*names: str):  # type: ignore[no-untyped-def]  # a judge by name
    return lambda tool: tool.get("name") in names


def answer(*tools: str, more: str = "") -> bytes:
    return f'{{"jsonrpc": "2.0", "id":1,"result" : {{"tools": [{", ".join(tools)}]{more}}}}}\n'.encode()


def test_what_is_kept_keeps_its_bytes() -> None:
    found = filtered(answer(SECRET, WEATHER, SECRET, more=', "nextCursor":"7","extra": 1e2'), named("weather"))
    assert found == answer(WEATHER, more=', "nextCursor":"7","extra": 1e2')


def test_nothing_changes_where_everything_is_allowed() -> None:
    whole = answer(WEATHER, SECRET)
    assert filtered(whole, lambda _: True) == whole


def test_a_page_may_become_empty() -> None:
    assert filtered(answer(SECRET, more=',"nextCursor":"2"'), named()) == answer(more=',"nextCursor":"2"')


def test_a_tool_without_a_name_or_form_goes() -> None:
    assert filtered(answer('{"title":"x"}', "7", "null", WEATHER), named("weather")) == answer(WEATHER)


@pytest.mark.parametrize("before", [True, False])
def test_caching_is_cut_down_so_that_a_reload_shows(before: bool) -> None:
    hints = '"ttlMs": 300000 , "cacheScope":"public"'
    text = f'{{"result":{{{hints},"tools":[]}}}}' if before else f'{{"result":{{"tools":[],{hints}}}}}'
    found = filtered(text.encode(), named())
    assert found is not None
    assert json.loads(found)["result"] == {"tools": [], "ttlMs": 0, "cacheScope": "private"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no"}}',
        b'{"result":{"prompts":[],"ttlMs":5}}',
        b'{"result":{"content":[],"structuredContent":{"tools":[{"name":"x"}]}}}',
        b'{"result":{"capabilities":{"tools":{}}}}',
        b'{"method":"x","params":{"result":{"tools":[{"name":"x"}]}}}',
        b"[]",
        b"7",
    ],
)
def test_other_answers_are_no_lists(body: bytes) -> None:
    assert filtered(body, named()) is None


def test_a_list_in_disguise_is_a_list() -> None:
    assert (
        filtered(b'{"r\\u0065sult":{"\\u0074ools":[{"name":"x"}]}}', named()) == b'{"r\\u0065sult":{"\\u0074ools":[]}}'
    )
    assert filtered(b'[{"result":{"tools":[{"name":"x"}]}}]', named()) == b'[{"result":{"tools":[]}}]'
    assert (
        filtered(b'\xef\xbb\xbf{"result":{"tools":[{"name":"x"}]}}', named()) == b'\xef\xbb\xbf{"result":{"tools":[]}}'
    )
    twice = b'{"result":{"tools":[{"name":"x"}],"tools":[{"name":"y"}]},"result":{"tools":[{"name":"z"}]}}'
    assert filtered(twice, named()) == b'{"result":{"tools":[],"tools":[]},"result":{"tools":[]}}'


@pytest.mark.parametrize(
    "body", [b"", b"{", answer(WEATHER)[:-3], answer(WEATHER) + b"x", b"\xff\xfe{", b"[" * 100_000]
)
def test_what_cannot_be_read_is_not_passed_on(body: bytes) -> None:
    with pytest.raises(ListError):
        filtered(body, named("weather"))


@given(st.lists(st.text(max_size=5)), st.sets(st.text(max_size=5)), st.sampled_from([None, 0, 2]))
def test_filtering_is_what_a_parser_would_have_made_of_it(
    names: list[str], allowed: set[str], indent: int | None
) -> None:
    document = {"id": 1, "result": {"tools": [{"name": name, "n": n} for n, name in enumerate(names)], "z": {}}}
    found = filtered(json.dumps(document, indent=indent).encode(), named(*allowed))
    document["result"]["tools"] = [t for t in document["result"]["tools"] if t["name"] in allowed]  # type: ignore[index]  # a dict
    assert found is not None
    assert json.loads(found) == document


def test_a_long_event_that_may_be_a_list_is_told_from_one_that_cannot() -> None:
    def begun(text: str) -> bool:
        return may_list(b"id: 1\ndata: " + text.encode() + b"x" * 70_000)

    assert begun('{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","description":"')
    assert begun('{"result":{"nextCursor":"1","_meta":{"a":"')
    assert begun('{"id":1,"result":{"ttlMs":1,"tools":[')
    assert not begun('{"id":1,"result":{"content":[{"type":"text","text":"')
    assert not begun('{"id":1,"result":{"isError":false,"content":[{"type":"text","text":"')
    assert not begun('{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"')
    assert not begun('{"id":1,"error":{"message":"')
    assert not begun("not json")
