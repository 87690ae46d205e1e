"""What the requests below /v1 are made of: who asks, the JSON body, the agent it names; and the answers that are no call's."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import NamedTuple

import orjson
from aiohttp.web_response import Response

from gateway.denial import Denial, Reason
from gateway.doors.answers import SERVER, outcome_headers
from gateway.doors.arguments import ArgumentsError, read_strictly
from gateway.doors.arrival import Arrival
from gateway.doors.bodies import read_whole
from gateway.doors.refusal import Refusal
from gateway.model import Outcome
from gateway.policy.compiled import digest_of
from gateway.policy.governed import AGENT_SCOPE, GLOBAL, is_scope
from gateway.policy.snapshot import GovernedPlan, Snapshot
from gateway.state.buffers import Buffers

LONGEST_CALL = 4 << 20
"""Bytes. A call's arguments are bounded by its tool's max_request_bytes as well."""
LONGEST_SETTING = 64 * 1024
"""Bytes of what is kept."""
MOST_STRANGERS = 1000
"""Agents that no policy names and that are counted all the same, in this process: each takes memory."""
AGENT = re.compile(r"[A-Za-z0-9._:-]{1,128}")
API_KEY, ADMIN_KEY = "governed.api_key", "governed.admin_key"
"""Where the policy has them, and how a kill switch tells which one was shown."""
Json = dict[str, object]
NO_HEADERS: Mapping[str, str] = {}


class Caller(NamedTuple):
    """Whoever shows a key."""

    administrates: bool
    """May register tools, and raise limits that are set."""
    by: str
    """Which key was shown, as a kill switch tells it."""


def caller_of(arrival: Arrival) -> Caller:
    """Raises Refusal, in the words and statuses that the SDK reads."""
    governed: GovernedPlan = arrival.snapshot.governed
    if governed.api_key is None:
        detail = "The governed door is closed: the policy sets no governed.api_key. An operator has to."
        raise Refusal(Denial(Reason.UNAUTHENTICATED, detail, status_override=403))
    scheme, _, key = arrival.request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Refusal(Denial(Reason.UNAUTHENTICATED, "Missing Authorization Bearer token: send governed.api_key."))
    shown = digest_of(key.strip())
    if governed.admin_key is not None and compare_digest(shown, governed.admin_key):
        return Caller(administrates=True, by=ADMIN_KEY)
    if compare_digest(shown, governed.api_key):
        return Caller(governed.open, API_KEY)
    detail = "Invalid API key: the bearer is not governed.api_key of the policy."
    raise Refusal(Denial(Reason.UNAUTHENTICATED, detail, status_override=403))


async def document_of(arrival: Arrival, limit: int, buffers: Buffers, read_timeout: float) -> Json:
    """The request's JSON object, of so many bytes at most; {} where there is no body. Raises Refusal."""
    body = await read_whole(arrival.request, limit, buffers, read_timeout)
    try:
        document = read_strictly(body) if body else {}
    except ArgumentsError as error:
        raise unprocessable(f"{error}") from None
    finally:
        buffers.give(len(body))
    if not isinstance(document, dict):
        raise unprocessable("the body is not a JSON object")
    return document


def unprocessable(what: str) -> Refusal:
    """422, which the SDK raises as ValidationError."""
    return Refusal(Denial(Reason.INVALID_REQUEST, f"Not taken: {what}.", status_override=422))


def not_found(what: str) -> Refusal:
    """404, with a sentence."""
    return Refusal(Denial(Reason.INVALID_REQUEST, what, status_override=404))


class Agents:
    """Which names are agents'."""

    def __init__(self, snapshot: Callable[[], Snapshot], fixed: str | None) -> None:
        self._snapshot = snapshot
        self._fixed = fixed
        self._strangers: set[str] = set()

    def named(self, name: object) -> str:
        """Raises Refusal where it is no agent's, or not the one that this sidecar speaks for."""
        if not isinstance(name, str) or not AGENT.fullmatch(name):
            raise unprocessable("agent_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
        if not self.concern(name):
            detail = "This gateway speaks for one agent (GATEWAY_AGENT_ID), and agent_id names another."
            raise Refusal(Denial(Reason.UNAUTHENTICATED, detail, status_override=403))
        return name

    def concern(self, name: str) -> bool:
        """May a request speak of this one?"""
        return self._fixed is None or name == self._fixed

    def scope(self, scope: str) -> str:
        """Where a tool is registered: for all, or for one. Raises Refusal."""
        if not is_scope(scope):
            raise unprocessable('scope_id must be "global" or "agent:ID"')
        if scope != GLOBAL:
            self.named(scope.removeprefix(AGENT_SCOPE))
        return scope

    def calling(self, name: object) -> str:
        """The same for one that is about to be counted."""
        agent = self.named(name)
        if agent == self._fixed or agent in self._strangers or self._snapshot().knows_agent(agent):
            return agent
        if len(self._strangers) >= MOST_STRANGERS:
            raise unprocessable(
                f"agent_id is the {MOST_STRANGERS + 1}st that no policy names; write a policy for it first"
            )
        self._strangers.add(agent)
        return agent


def instant(wall: float) -> str:
    """As RFC 3339 has it."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def answered(arrival: Arrival, document: object, more: Mapping[str, str] = NO_HEADERS) -> Response:
    """200 with JSON, and some headers more."""
    outcome = Outcome(Reason.OK, arrival.snapshot.version, 0, report=arrival.snapshot.report)
    headers = outcome_headers(arrival.call_id, outcome) | {"Content-Type": "application/json", "Server": SERVER}
    return Response(body=orjson.dumps(document), headers={**headers, **more})
