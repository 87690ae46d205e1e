"""What the performance of a call came to, for all that share it: in this process, or as text at other gateways. Pure."""

import json
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from enum import StrEnum
from itertools import chain
from typing import NamedTuple

from gateway.denial import Denial, Reason
from gateway.model import Reply, RunKey


class Ended(NamedTuple):
    """How it ended."""

    call_id: str
    args_hash: str
    run: RunKey
    """Of the call that was performed."""
    denial: Denial | None
    reply: Reply | None
    """Its body is whole, or it is not for those that joined."""
    sent: bool
    """May the upstream have seen a byte?"""

    @property
    def weight(self) -> int:
        """Bytes, about."""
        reply = self.reply
        return 1024 if reply is None else 1024 + len(reply.body or b"") + sum(map(len, chain(*reply.headers)))


class Silence(StrEnum):
    """Why nobody tells how a performance at another gateway ended."""

    GONE = "gone"
    """Its gateway has said nothing of it for a while: it has died."""
    UNMADE = "unmade"
    """Its gateway has let go of it before anything was sent."""
    OUT_OF_REACH = "out of reach"
    """The gateways cannot hear of each other."""


class Elsewhere(NamedTuple):
    """A performance at another gateway."""

    args_hash: str
    """Which call it is."""
    end: Callable[[], Awaitable[Ended | Silence]]
    """Waits for it. May be cancelled, and asked again."""


def written(ended: Ended) -> str:
    """As one line of ASCII: a header may hold bytes that are no text, which JSON escapes."""
    denial, reply = ended.denial, ended.reply
    found: dict[str, object] = {"id": ended.call_id, "args": ended.args_hash, "run": ended.run, "sent": ended.sent}
    if denial is not None:
        found["denial"] = (
            denial.reason,
            denial.detail,
            denial.stop_reason,
            denial.retry_after,
            denial.status_override,
        )
    if reply is not None:
        body = None if reply.body is None else b64encode(reply.body).decode()
        found["reply"] = reply.status, reply.headers, body
    return json.dumps(found)


def without_body(text: str) -> str:
    """What was written, as it is where there is no room for all of it: those that joined hear that it was performed."""
    found = json.loads(text or "{}")
    if "reply" in found:
        found["reply"][2] = None
    return json.dumps(found) if found else text


def read(text: str) -> Ended | None:
    """An Ended from its text; None where this version cannot read it."""
    try:
        found = json.loads(text)
        return Ended(
            str(found["id"]),
            str(found["args"]),
            RunKey(*map(str, found["run"])),
            None if "denial" not in found else _denial(*found["denial"]),
            None if "reply" not in found else _reply(*found["reply"]),
            bool(found["sent"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _denial(reason: str, detail: str, stop: str | None, retry_after: float | None, status: int | None) -> Denial:
    return Denial(Reason(reason), detail, stop, retry_after, status)


def _reply(status: int, headers: list[list[str]], body: str | None) -> Reply:
    whole = None if body is None else b64decode(body, validate=True)
    return Reply(int(status), tuple((str(name), str(value)) for name, value in headers), whole)
