"""How the MCP door says no: to a call with a result that the model reads, to anything else with a JSON-RPC error.

A call that is refused is answered by `isError`, since only that reaches the model in every client; HTTP errors are kept for what is no
call, and 401, 403 and 404 are never made up for what policy says: clients log in again, or start new sessions, on them.
"""

import json
from collections.abc import Iterable
from dataclasses import replace

import orjson
from aiohttp.web_response import Response
from multidict import CIMultiDict

from gateway.denial import Denial
from gateway.doors.answers import SERVER, outcome_headers, problem_of
from gateway.doors.arrival import Arrival
from gateway.doors.mcp.sse import event_of
from gateway.model import Outcome
from gateway.policy.plans.patterns import is_tool_name

CODE = -31_000
"""Of JSON-RPC errors that are the gateway's own: -32768 to -32000 is JSON-RPC's and MCP's."""
REASON, DENIAL = "tool-gateway/reason", "tool-gateway/denial"
"""Keys of `_meta`: a prefix of labels (one, here) before a slash, and none of MCP's own (basic/index, "_meta")."""
_READ_BY_CLIENTS = frozenset({401, 403, 404})

Id = str | int | None


def refused_call(arrival: Arrival, identity: Id, denial: Denial, outcome: Outcome) -> Response:
    """The answer to a tools/call that was refused or failed: 200, as JSON or, where the caller takes nothing else, as one event."""
    body = result_of(arrival, identity, denial, outcome.policy)
    headers = outcome_headers(arrival.call_id, outcome)
    return _response(200, body, headers, events=wants_events(arrival.request.headers.getall("Accept", ())))


def refused_message(
    arrival: Arrival, identity: Id, denial: Denial, outcome: Outcome, *, code: int = CODE, by_policy: bool = False
) -> Response:
    """The answer to anything else. `by_policy`: the message was sound, so that a request gets 200 with its error inside."""
    headers = outcome_headers(arrival.call_id, outcome)
    status = denial.status
    if by_policy and identity is not None and status in (400, *_READ_BY_CLIENTS):
        status = 200
    if denial.waiting_helps:
        headers["Retry-After"] = str(denial.whole_wait)
    if status == 405:
        headers["Allow"] = ", ".join(sorted(arrival.methods))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    response = _response(status, error_of(arrival, identity, denial, outcome.policy, code), headers, events=False)
    if denial.closes_connection:
        response.force_close()
    return response


def result_of(arrival: Arrival, identity: Id, denial: Denial, policy: str) -> bytes:
    """A CallToolResult. `resultType` is required since 2026-07-28, and older clients ignore it."""
    denial, tool = _named(arrival, denial)
    problem = problem_of(denial, arrival.call_id, tool, arrival.run, policy)
    result = {
        "resultType": "complete",
        "content": [{"type": "text", "text": f"{denial.reason}: {denial.detail}"}],
        "isError": True,
        "_meta": {REASON: denial.reason, DENIAL: problem},
    }
    return _message(identity, "result", result)


def error_of(arrival: Arrival, identity: Id, denial: Denial, policy: str, code: int = CODE) -> bytes:
    """A JSON-RPC error."""
    problem = problem_of(denial, arrival.call_id, "", arrival.run, policy)
    error = {"code": code, "message": f"{denial.reason}: {denial.detail}", "data": problem}
    return _message(identity, "error", error)


def wants_events(accept: Iterable[str]) -> bool:
    """Does the caller take event streams alone?"""
    kinds = {kind.partition(";")[0].strip().lower() for line in accept for kind in line.split(",")}
    return "text/event-stream" in kinds and kinds.isdisjoint({"application/json", "application/*", "*/*"})


def dumped(identity: Id) -> bytes:
    """An id as JSON: of any size."""
    return json.dumps(identity).encode()


def _named(arrival: Arrival, denial: Denial) -> tuple[Denial, str]:
    """The denial and the tool's name; a name that no policy could spell is not repeated."""
    if not arrival.tool or is_tool_name(arrival.tool):
        return denial, arrival.tool
    detail = denial.detail.replace(f"the tool {arrival.tool}", "this tool").replace(arrival.tool, "this tool")
    return replace(denial, detail=detail), ""


def _message(identity: Id, kind: str, content: dict[str, object]) -> bytes:
    return b'{"jsonrpc":"2.0","id":%b,"%b":%b}' % (dumped(identity), kind.encode(), orjson.dumps(content))


def _response(status: int, body: bytes, headers: dict[str, str], *, events: bool) -> Response:
    multi = CIMultiDict(headers)
    multi["Server"] = SERVER
    multi["Content-Type"] = "text/event-stream" if events else "application/json"
    return Response(status=status, headers=multi, body=event_of(body) if events else body)
