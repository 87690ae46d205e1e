"""The end of a call in the words of the governed door: allowed, decision, policy_reason, result. Pure."""

from base64 import b64encode
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import quote, urlencode

import orjson

from gateway.denial import Reason
from gateway.doors.arguments import written
from gateway.model import Effect

EXECUTED, BLOCKED, DEDUP = "executed", "blocked", "dedup"
_AFTER_DISPATCH = frozenset(
    {
        Reason.OUTCOME_UNKNOWN,
        Reason.RESPONSE_TOO_LARGE,
        Reason.UPSTREAM_FAILED,
        Reason.TOOL_TIMEOUT,
        Reason.INTERNAL_ERROR,
        Reason.TOOL_ERROR,
        Reason.CLIENT_GONE,
    }
)
"""Policy let the call pass, and no good came of it."""
_CODES = {
    Reason.MAX_ACTIONS_PER_HOUR: "max_actions_per_hour_exceeded",
    Reason.MAX_CALLS_PER_TOOL: "max_calls_per_tool_exceeded",
    Reason.MAX_SPEND_USD_PER_DAY: "max_spend_usd_per_day_exceeded",
    Reason.TOOL_NOT_ALLOWED: "tool_not_in_allowed_list",
    Reason.DEDUP: "tool_idempotency",
}
"""The vendor's words, where they differ from a Reason's."""
RISKS = {Effect.READ: "low", Effect.WRITE: "medium"}


class Verdict(NamedTuple):
    """What an agent is told of a call, and later of it in its log."""

    allowed: bool
    decision: str
    policy_reason: str


def verdict_of(reason: Reason, rule: str = "") -> Verdict:
    """`rule`: what decided on the tool, which tells a denylist from a missing entry."""
    if reason is Reason.OK:
        return Verdict(allowed=True, decision=EXECUTED, policy_reason="ok")
    if reason is Reason.DEDUP:
        return Verdict(allowed=True, decision=DEDUP, policy_reason=_CODES[reason])
    if reason in _AFTER_DISPATCH:
        return Verdict(allowed=True, decision=EXECUTED, policy_reason="tool_error")
    if reason is Reason.TOOL_NOT_ALLOWED and rule.partition(': "')[0].endswith(("denylist", "blocked_tools")):
        return Verdict(allowed=False, decision=BLOCKED, policy_reason="tool_explicitly_blocked")
    return Verdict(allowed=False, decision=BLOCKED, policy_reason=_CODES.get(reason, reason.value))


def query_of(args: dict[str, object]) -> str:
    """Arguments as the query of a GET: texts as they are, other values as JSON, a list as a repeated name."""
    pairs = [
        (name, _text(item)) for name, value in args.items() for item in (value if isinstance(value, list) else [value])
    ]
    return urlencode(pairs, quote_via=quote, safe="")


def result_of(
    status: int, headers: Iterable[tuple[str, str]], body: bytes, *, as_page: bool = False
) -> orjson.Fragment | dict[str, object]:
    """What an SDK keeps is an object: a JSON object is it (byte for byte), other JSON is its `value`; all else, and whatever was fetched
    (`as_page`), is told as status, headers and body.
    """
    named = [(name.lower(), value) for name, value in headers]
    coded = any(name == "content-encoding" for name, _ in named)
    if not as_page and not coded and _may_be_json(named):
        try:
            is_object = isinstance(orjson.loads(body), dict)
        except ValueError:
            is_object = None
        if is_object is not None:
            return orjson.Fragment(body) if is_object else {"value": orjson.Fragment(body)}
    return {"status": status, "headers": _object(named), **_body(body, coded=coded)}


def _may_be_json(headers: list[tuple[str, str]]) -> bool:
    media_type = next((value for name, value in headers if name == "content-type"), "json")
    return "json" in media_type.lower()


def _object(headers: list[tuple[str, str]]) -> dict[str, str]:
    """A repeated name's values in one, with commas (RFC 9110, 5.3)."""
    found: dict[str, str] = {}
    for name, value in headers:
        if name.startswith("tool-gateway-"):
            continue  # only this gateway speaks for itself
        text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        found[name] = f"{found[name]}, {text}" if name in found else text
    return found


def _body(body: bytes, *, coded: bool) -> dict[str, object]:
    if not coded:
        try:
            return {"body": body.decode()}
        except UnicodeDecodeError:
            pass
    return {"body": b64encode(body).decode(), "encoding": "base64"}


def _text(value: object) -> str:
    return value if isinstance(value, str) else written(value).decode()
