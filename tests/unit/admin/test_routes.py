"""Which handler a path and a method lead to."""

from collections.abc import Mapping

import pytest
from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse

from gateway.admin.problems import Refused
from gateway.admin.routes import Handler, Routes


def handler() -> Handler:
    async def answered(_request: BaseRequest, _parts: Mapping[str, str]) -> StreamResponse:
        return StreamResponse()

    return answered


STREAM, CALL, RUN, LIFT, SWITCHES, KILL, TOLD = (handler() for _ in range(7))


@pytest.fixture
def routes() -> Routes:
    made = Routes()
    made.add("GET", "/calls/stream", STREAM)
    made.add("GET", "/calls/{call}", CALL)
    made.add("GET", "/runs/{agent}/{run}", RUN)
    made.add("DELETE", "/switches/{scope:.+}", LIFT)
    made.add("GET", "/switches", SWITCHES)
    made.add("POST", "/switches", KILL)
    made.add("GET", "/told.json", TOLD)
    return made


@pytest.mark.parametrize(
    ("method", "path", "found", "parts"),
    [
        ("GET", "/switches", SWITCHES, {}),
        ("POST", "/switches", KILL, {}),
        ("GET", "/calls/stream", STREAM, {}),
        ("GET", "/calls/streams", CALL, {"call": "streams"}),
        ("GET", "/calls/{call}", CALL, {"call": "{call}"}),
        ("GET", "/runs/a/b", RUN, {"agent": "a", "run": "b"}),
        ("GET", "/told.json", TOLD, {}),
        ("DELETE", "/switches/tool:a/b", LIFT, {"scope": "tool:a/b"}),
    ],
)
def test_path_and_method_together_name_the_handler(
    routes: Routes, method: str, path: str, found: Handler, parts: dict[str, str]
) -> None:
    assert routes.find(method, path) == (found, parts)


def test_a_slash_that_was_sent_encoded_is_part_of_a_name(routes: Routes) -> None:
    assert routes.find("GET", "/runs/a%2Fb/c%252Fd")[1] == {"agent": "a/b", "run": "c%2Fd"}


@pytest.mark.parametrize(
    "path", ["", "/", "/calls", "/calls/", "/calls/a/b", "/runs/a/", "/switches/", "/a/calls/b", "/told-json", "*"]
)
def test_what_fits_no_path_is_not_there(routes: Routes, path: str) -> None:
    with pytest.raises(Refused) as refused:
        routes.find("GET", path)
    assert refused.value.status == 404


@pytest.mark.parametrize(
    ("path", "allowed"), [("/switches", "GET,POST"), ("/switches/all", "DELETE"), ("/calls/a", "GET")]
)
def test_another_method_is_told_which_there_are(routes: Routes, path: str, allowed: str) -> None:
    with pytest.raises(Refused) as refused:
        routes.find("PUT", path)
    assert (refused.value.status, refused.value.headers) == (405, {"Allow": allowed})
