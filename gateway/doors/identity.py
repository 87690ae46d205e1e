"""Which agent is calling, and for which run? From headers and settings alone (SPEC 2). Pure."""

import binascii
import re
from base64 import b64decode
from collections.abc import Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol
from urllib.parse import unquote

from gateway.denial import Denial, Reason
from gateway.doors.refusal import Refusal
from gateway.policy.snapshot import Snapshot

RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?")
MAX_STEP = 1_000_000
DEFAULT_AGENT = "default"


class Headers(Protocol):
    """The look-ups that aiohttp's case-insensitive multidict offers."""

    def get(self, key: str, /) -> str | None: ...

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]: ...


class Caller(NamedTuple):
    """Who calls."""

    agent: str
    foreign_bearer: bool
    """A bearer that no agent owns: only a tool that forwards Authorization may take it."""
    own_token: bool
    """Authorization carries an agent's token. Such a one is never forwarded, whatever else identified the caller."""


def caller_of(headers: Headers, snapshot: Snapshot, fixed_agent: str | None) -> Caller:
    """`fixed_agent` is GATEWAY_AGENT_ID: no header can spoof it. Raises Refusal."""
    authorization = _authorization(headers)
    bearer = None if authorization is None else _bearer(authorization)
    owner = snapshot.agent_of_token(bearer) if bearer else None
    own_token = authorization is not None and (owner is not None or _carries_token(authorization, snapshot))
    if fixed_agent is not None:
        return Caller(fixed_agent, False, own_token)
    token = headers.get("Agent-Token")
    if token is not None:
        agent = snapshot.agent_of_token(token)
        if agent is None:
            raise _unauthenticated("Agent-Token is no agent's token; send the token that the policy gives this agent.")
        return Caller(agent, False, own_token)
    if owner is not None:
        return Caller(owner, False, True)
    return Caller(_named_agent(headers.get("Agent-Id"), snapshot), bearer is not None, own_token)


def refuse_foreign_bearer() -> Refusal:
    """The tool does not forward Authorization, so a bearer can only be meant for the gateway."""
    return _unauthenticated(
        "The bearer in Authorization is no agent's token. Send the agent's own token, or no Authorization at all "
        "(a tool's own credentials are injected by the gateway)."
    )


def proxy_caller_of(lines: Sequence[str], snapshot: Snapshot, fixed_agent: str | None) -> tuple[str, str | None]:
    """Agent and run, as the Proxy-Authorization lines of a request say them: Basic, with `{run_id}:{token}`. Both may be empty.

    Raises Refusal (407, so that no client takes it for a challenge of the origin).
    """
    if len(lines) > 1:
        raise proxy_unauthenticated("Proxy-Authorization stands more than once; send it once.")
    credentials = _user_and_password(lines[0]) if lines else ("", "")
    if credentials is None:
        raise proxy_unauthenticated("Proxy-Authorization is not Basic with a user and a password.")
    run, token = credentials
    if fixed_agent is not None or not token:
        return fixed_agent or DEFAULT_AGENT, run or None
    agent = snapshot.agent_of_token(token)
    if agent is None:
        raise proxy_unauthenticated("The password of the proxy URL is no agent's token.")
    return agent, run or None


def proxy_unauthenticated(what: str, reason: Reason = Reason.UNAUTHENTICATED) -> Refusal:
    """Answered with a challenge, which is what browsers wait for before they send a proxy any credentials."""
    detail = f"{what} The proxy URL is http://RUN_ID:TOKEN@HOST:PORT, with the token that the policy gives this agent."
    return Refusal(Denial(reason, detail, status_override=407))


def carries_token(headers: Headers, snapshot: Snapshot) -> bool:
    """Does Authorization carry an agent's token? Whatever the door, such a one is never forwarded. Raises Refusal."""
    authorization = _authorization(headers)
    return authorization is not None and _carries_token(authorization, snapshot)


def run_of(prefix: str | None, headers: Headers, identify_by_trace: bool) -> str:
    """The run's id, "" for none: `prefix` (of the path, or the proxy URL's user), Agent-Run-Id, baggage, then the trace id where policy
    says so. Raises Refusal.
    """
    found = prefix
    if found is None:
        found = headers.get("Agent-Run-Id")
    if found is None and (baggage := headers.get("baggage")):
        found = _in_baggage(baggage)
    if found is None and identify_by_trace:
        return trace_of(headers) or ""
    if found is None:
        return ""
    if not RUN_ID.fullmatch(found):
        raise Refusal(Denial(Reason.INVALID_REQUEST, "The run id must be 1 to 128 characters of A-Z a-z 0-9 . _ : -"))
    return found


def session_window(headers: Headers) -> str:
    """For calls of an MCP session that name no run: the session's own window, "" where there is no session. Its id is a secret."""
    session = headers.get("Mcp-Session-Id")
    return "" if session is None else f"mcp-{sha256(session.encode(errors='surrogateescape')).hexdigest()[:32]}"


def trace_of(headers: Headers) -> str | None:
    """The trace id of a well-formed traceparent (W3C Trace Context)."""
    value = headers.get("traceparent")
    return trace_in(value) if value else None


def trace_in(traceparent: str) -> str | None:
    """The trace id in a traceparent's value; None where it is not well-formed."""
    match = TRACEPARENT.fullmatch(traceparent)
    return match[1] if match and match[1] != "0" * 32 else None


def step_of(headers: Headers) -> int | None:
    """The step number that Agent-Step announces. Raises Refusal."""
    value = headers.get("Agent-Step")
    if value is None:
        return None
    step = step_in(value)
    if step is None:
        raise Refusal(Denial(Reason.INVALID_REQUEST, f"Agent-Step must be a whole number from 0 to {MAX_STEP}."))
    return step


def step_in(value: str) -> int | None:
    """The header's value, if it is one."""
    plain = value.isascii() and value.isdigit() and len(value) <= 7
    return int(value) if plain and int(value) <= MAX_STEP else None


def _named_agent(name: str | None, snapshot: Snapshot) -> str:
    if name is None or not snapshot.knows_agent(name):
        return DEFAULT_AGENT
    if name in snapshot.agents_with_token:
        raise _unauthenticated(
            "Agent-Id names an agent that has a token, and the call does not carry it; send Agent-Token."
        )
    return name


def _authorization(headers: Headers) -> str | None:
    """The Authorization header, which may stand once: a second one would go unjudged. Raises Refusal."""
    lines = headers.getall("Authorization", ())
    if len(lines) > 1:
        raise Refusal(Denial(Reason.INVALID_REQUEST, "Authorization stands more than once; send it once."))
    return lines[0] if lines else None


def _carries_token(authorization: str, snapshot: Snapshot) -> bool:
    """As a bearer, or as a password: what was meant for the proxy, and written into the other header."""
    credentials = _user_and_password(authorization)
    token = _bearer(authorization) if credentials is None else credentials[1]
    return token is not None and snapshot.agent_of_token(token) is not None


def _bearer(authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _user_and_password(credentials: str) -> tuple[str, str] | None:
    """The two parts of Basic credentials (RFC 7617); None for anything else."""
    scheme, _, encoded = credentials.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return (user, password) if colon else None


def _in_baggage(baggage: str) -> str | None:
    for member in baggage.split(","):
        name, _, value = member.partition(";")[0].partition("=")
        if name.strip() == "agent.run_id":
            return unquote(value.strip())
    return None


def _unauthenticated(detail: str) -> Refusal:
    return Refusal(Denial(Reason.UNAUTHENTICATED, detail))
