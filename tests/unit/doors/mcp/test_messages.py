import json
from base64 import b64encode

import pytest
from multidict import CIMultiDict

from gateway.doors.mcp.messages import HEADER_MISMATCH, INVALID_REQUEST, PARSE_ERROR, MessageError, read, stateless

JSON = {"Content-Type": "application/json"}
CALL = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":{"q":"tea"}}}'


def headers(*pairs: tuple[str, str], **named: str) -> CIMultiDict[str]:
    return CIMultiDict([*JSON.items(), *((k.replace("_", "-"), v) for k, v in named.items()), *pairs])


def refused(body: bytes, found: CIMultiDict[str] | None = None) -> MessageError:
    with pytest.raises(MessageError) as error:
        read(body, found or headers())
    return error.value


def a_call(**params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


def test_a_call_names_its_tool_and_holds_its_arguments() -> None:
    message = read(CALL, headers())
    assert (message.method, message.id, message.named, message.arguments) == ("tools/call", 1, "search", {"q": "tea"})
    assert message.is_request
    assert read(a_call(name="search"), headers()).arguments == {}


def test_a_name_in_escapes_is_the_name_it_spells() -> None:
    assert read(CALL.replace(b"search", b"s\\u0065arch"), headers()).named == "search"


def test_integers_stay_what_they_are() -> None:
    message = read(CALL.replace(b'"tea"', b"123456789012345678901234567890"), headers())
    assert message.arguments == {"q": 123456789012345678901234567890}


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":"a","method":"anything/else","params":{"name":7}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":null}',
    ],
)
def test_other_requests_are_read(body: bytes) -> None:
    assert read(body, headers()).is_request


def test_notifications_and_responses_are_no_requests() -> None:
    assert not read(b'{"jsonrpc":"2.0","method":"notifications/initialized"}', headers()).is_request
    assert read(b'{"jsonrpc":"2.0","id":4,"result":{}}', headers()).method == ""
    assert read(b'{"jsonrpc":"2.0","id":4,"error":{"code":1,"message":"no"}}', headers()).method == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xef\xbb\xbf" + CALL,
        CALL.decode().encode("utf-16"),
        CALL.decode().encode("utf-16-le"),
        CALL.replace(b'"tea"', b"NaN"),
        CALL.replace(b'"tea"', b"1e400"),
        CALL.replace(b'"tea"', b'"\\ud800"'),
        CALL.replace(b'"tea"', b'"\xff"'),
        CALL.replace(b'"tea"', b"9" * 5000),
        CALL.replace(b'"tea"', b"[" * 300 + b"]" * 300),
        CALL.replace(b'"name"', b'"name":"allowed","name"'),
        CALL.replace(b'"name"', b'"n\\u0061me":"allowed","name"'),
        CALL.replace(b'"method"', b'"method":"ping","method"'),
        CALL.replace(b'"q"', b'"q":":::","q"'),
        CALL + b"\x00",
        CALL + CALL,
        b"/* */" + CALL,
    ],
)
def test_what_parsers_read_differently_is_no_message(body: bytes) -> None:
    assert refused(body).code == PARSE_ERROR


@pytest.mark.parametrize(
    "body",
    [
        b"[" + CALL + b"]",
        b"[]",
        b"7",
        b'"tools/call"',
        CALL.replace(b'"2.0"', b'"1.0"'),
        CALL.replace(b'"2.0"', b"2.0"),
        CALL.replace(b'"id":1,', b""),
        CALL.replace(b'"id":1', b'"id":null'),
        CALL.replace(b'"id":1', b'"id":true'),
        CALL.replace(b'"id":1', b'"id":1.5'),
        CALL.replace(b'"id":1', b'"id":[1]'),
        CALL.replace(b'"search"', b"null"),
        CALL.replace(b'"search"', b'["search"]'),
        CALL.replace(b'"search"', b'""'),
        CALL.replace(b'{"q":"tea"}', b"[]"),
        CALL.replace(b'{"q":"tea"}', b'"q"'),
        CALL.replace(b'"id"', b'"result":{},"id"'),
        b'{"jsonrpc":"2.0","id":1,"method":7}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}',
        b'{"jsonrpc":"2.0","id":1}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        CALL.replace(b'"id"', b'"METHOD":"tools/call","id"').replace(b'"tools/call"', b'"ping"', 1),
        CALL.replace(b'"name"', b'"Name":"other","name"'),
        CALL.replace(b'"id"', '"param\u017f":{"name":"other"},"id"'.encode()),
    ],
)
def test_what_is_json_but_no_message_is_refused(body: bytes) -> None:
    assert refused(body).code == INVALID_REQUEST


def test_keys_of_the_arguments_are_the_tools_own_business() -> None:
    assert read(a_call(name="search", arguments={"Name": 1, "name": 2, "METHOD": 3}), headers()).named == "search"


@pytest.mark.parametrize(
    ("kind", "taken"),
    [
        ("application/json", True),
        ("Application/JSON; charset=UTF-8", True),
        ('application/json;charset="utf-8"', True),
        ("application/json; charset=utf-16", False),
        ("text/plain", False),
        ("application/json-seq", False),
        ("multipart/form-data; boundary=application/json", False),
    ],
)
def test_only_utf_8_json_is_taken(kind: str, taken: bool) -> None:
    found = CIMultiDict({"Content-Type": kind})
    if taken:
        read(CALL, found)
    else:
        assert refused(CALL, found).status == 415


def test_a_coded_body_or_a_second_type_is_refused() -> None:
    assert refused(CALL, headers(Content_Encoding="gzip")).status == 415
    assert refused(CALL, headers(("Content-Type", "text/plain"))).status == 415
    assert read(CALL, headers(Content_Encoding="identity")).id == 1


def test_headers_must_say_what_the_body_says() -> None:
    read(CALL, headers(Mcp_Method="tools/call", Mcp_Name="search"))
    for wrong in (
        headers(Mcp_Method="ping"),
        headers(Mcp_Name="other"),
        headers(Mcp_Name="Search"),
        headers(Mcp_Name=""),
    ):
        error = refused(CALL, wrong)
        assert (error.code, error.status) == (HEADER_MISMATCH, 400)
    twice = headers(("Mcp-Name", "search"), ("Mcp-Name", "search"))
    assert refused(CALL, twice).code == HEADER_MISMATCH


def test_a_name_beyond_ascii_stands_in_the_header_as_base64() -> None:
    body = a_call(name="größe")
    read(body, headers(Mcp_Name=f"=?base64?{b64encode('größe'.encode()).decode()}?="))
    assert refused(body, headers(Mcp_Name="=?base64?Zm9v?=")).code == HEADER_MISMATCH
    assert refused(body, headers(Mcp_Name="=?base64?/w==?=")).code == HEADER_MISMATCH


def test_resources_are_named_by_their_uri_and_tasks_by_their_id() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":"file:///a","name":"b"}}'
    read(body, headers(Mcp_Name="file:///a"))
    assert refused(body, headers(Mcp_Name="b")).code == HEADER_MISMATCH
    read(b'{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":"t"}}', headers(Mcp_Name="t"))


def test_what_a_header_says_of_a_method_not_known_here_is_between_the_others() -> None:
    read(b'{"jsonrpc":"2.0","id":1,"method":"skills/run","params":{"skill":"x"}}', headers(Mcp_Name="x"))


def test_no_value_is_repeated() -> None:
    for body in (CALL.replace(b"tools/call", b"hunter2") + b"x", CALL.replace(b'"search"', b'["hunter2"]')):
        assert "hunter2" not in refused(body).detail


def test_the_wire_is_told_by_the_version() -> None:
    assert stateless(headers(MCP_Protocol_Version="2026-07-28"))
    assert not stateless(headers(MCP_Protocol_Version="2025-11-25"))
    assert not stateless(headers())


@pytest.mark.parametrize(
    "method",
    ["Tools/Call", "TOOLS/CALL", "tools/call ", " tools/call", "tools/call\0", "tools/call\n", "tools\u2044call", ""],
)
def test_a_method_that_some_server_could_take_for_a_call_is_refused(method: str) -> None:
    said = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "x"}}
    assert "method" in refused(json.dumps(said).encode()).detail
