"""Reads logs of ours back: what happened, as `simulate` takes it. Nothing in them is trusted; a line that is none is counted and named."""

import gzip
import io
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, cast

import orjson

from gateway.denial import Reason
from gateway.model import Door, Effect, KillSwitch, RunKey, Source
from gateway.pipeline.recorded import Happened, Recorded, RunEnded, Switched
from gateway.state.ledger import ENDS_RUN
from gateway.state.switches import parse_scope

STDIN = "-"
_LONGEST = 1 << 20
"""Bytes of a line; ours have 8 KiB."""
_LONGEST_CALL, _FIRST_YEAR = 366 * 86_400_000, 1980
"""Milliseconds; a tunnel may stand for weeks."""
_MOST_NAMED = 10
_NEVER_SENT = frozenset({"refused", "dns", "connect_timeout", "tls", "egress_not_allowed", "overloaded"})
"""Failures of attempts that no upstream saw (UpstreamError.kind)."""
_GZIP = b"\x1f\x8b"


@dataclass(slots=True)
class Recording:
    """What the logs hold."""

    happened: list[Happened] = field(default_factory=list)
    lines: int = 0
    others: int = 0
    """Events that say nothing about calls."""
    damaged: int = 0
    damage: list[str] = field(default_factory=list)
    """The first ten: where, and what is wrong."""
    dropped: int = 0
    """Lines that the gateway could not write, as its log tells itself."""
    steps: dict[RunKey, int] = field(default_factory=dict)
    """Of the runs that ended."""

    def read(self, name: str, tick: Callable[[int], None]) -> None:
        """A file, also a .gz, or `-`. `tick` is told of bytes read. Raises OSError where it cannot be opened or read."""
        with ExitStack() as stack:
            raw = _open(name, stack)
            at, lines = 0, _lines(_unpacked(raw, stack))
            number = 0
            try:
                for number, line in enumerate(lines, 1):
                    self._take(line, name, number)
                    if number % 2000 == 0 and name != STDIN:
                        now = raw.tell()
                        tick(now - at)
                        at = now
            except (EOFError, zlib.error, gzip.BadGzipFile):
                self._damaged(name, number + 1, "the compressed data breaks off or is damaged here")

    def _take(self, line: bytes | None, name: str, number: int) -> None:
        self.lines += 1
        if line is not None and not line.strip():
            return
        try:
            if line is None:
                raise ValueError("longer than 1 MiB")
            happened = self._understood(line)
        except (ValueError, TypeError, KeyError, OverflowError) as error:
            self._damaged(name, number, _why(error))
            return
        if happened is None:
            self.others += 1
        else:
            self.happened.append(happened)

    def _understood(self, line: bytes) -> Happened | None:
        fields = orjson.loads(line)
        if not isinstance(fields, dict) or not isinstance(fields.get("event"), str):
            raise ValueError("no event of the gateway's log")
        match fields["event"]:
            case "tool_call":
                return _call(fields)
            case "run_finished":
                return self._run_finished(fields)
            case "kill_switch":
                return _switched(fields)
            case "log_dropped" if isinstance(fields.get("dropped"), dict):
                self.dropped += sum(n for n in fields["dropped"].values() if isinstance(n, int))
        return None

    def _run_finished(self, fields: dict[str, object]) -> RunEnded | None:
        """One that was out of a budget ends by the new policy's, if at all."""
        run = RunKey(_text(fields, "agent_id"), _text(fields, "run_id"))
        steps = fields.get("steps")
        if isinstance(steps, int):
            self.steps[run] = max(steps, self.steps.get(run, 0))
        word = _text(fields, "stop_reason")
        return None if word in ENDS_RUN else RunEnded(_time(fields), run, word, word == Reason.KILL_SWITCH)

    def _damaged(self, name: str, number: int, why: str) -> None:
        self.damaged += 1
        if len(self.damage) < _MOST_NAMED:
            self.damage.append(f"{'stdin' if name == STDIN else name}:{number}: {why}")


def _open(name: str, stack: ExitStack) -> BinaryIO:
    return sys.stdin.buffer if name == STDIN else stack.enter_context(Path(name).open("rb"))


def _unpacked(raw: BinaryIO, stack: ExitStack) -> BinaryIO:
    """Told by its first bytes, whatever its name."""
    buffered = (
        raw if isinstance(raw, io.BufferedReader) else stack.enter_context(io.BufferedReader(cast("io.RawIOBase", raw)))
    )
    if buffered.peek(2)[:2] != _GZIP:
        return buffered
    return cast("BinaryIO", stack.enter_context(gzip.open(buffered)))


def _lines(file: BinaryIO) -> Iterator[bytes | None]:
    """None for one that is too long to be ours."""
    while line := file.readline(_LONGEST):
        if len(line) < _LONGEST or line.endswith(b"\n"):
            yield line
            continue
        while (rest := file.readline(_LONGEST)) and not rest.endswith(b"\n"):
            pass
        yield None


def _call(fields: dict[str, object]) -> Recorded:
    ended = _time(fields)
    duration = fields["duration_ms"]
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 <= duration <= _LONGEST_CALL:
        raise ValueError("duration_ms is no duration")
    run, effect, cost = fields.get("run_id"), fields.get("effect"), fields.get("cost_usd", 0)
    attempts, errors = fields.get("attempts", 0), fields.get("errors") or []
    if not isinstance(errors, list) or not isinstance(cost, int | float) or not 0 <= cost < 1e12:
        raise ValueError("errors or cost_usd are not what they are in a tool_call")
    reason, refused = Reason(_text(fields, "reason")), _text(fields, "decision") == "deny"
    reported, target, tool = fields.get("report_reason"), fields.get("target"), fields.get("tool")
    failed = reason not in (Reason.OK, Reason.TOOL_ERROR, Reason.DEDUP)
    return Recorded(
        at=ended - duration / 1000,
        refused=refused,
        ended=ended,
        call_id=_text(fields, "call_id"),
        run=RunKey(sys.intern(_text(fields, "agent_id")), run if isinstance(run, str) else ""),
        tool=sys.intern(tool) if isinstance(tool, str) else "",
        door=Door(_text(fields, "door")),
        effect=Effect(effect) if isinstance(effect, str) else None,
        args_hash=_text(fields, "args_hash"),
        reason=reason,
        reported=Reason(reported) if isinstance(reported, str) else None,
        cost=round(cost * 1_000_000),
        policy=sys.intern(_text(fields, "policy")),
        unsent=not refused and failed and len(errors) == attempts and _NEVER_SENT.issuperset(map(str, errors)),
        target=target if isinstance(target, str) else None,
    )


def _switched(fields: dict[str, object]) -> Switched | None:
    """policy.yaml's own are the recorded policy's: the new one has its own."""
    source = Source(_text(fields, "source"))
    if source is Source.POLICY:
        return None
    at, until = _time(fields), fields.get("until")
    switch = KillSwitch(
        parse_scope(_text(fields, "scope")),
        _text(fields, "reason"),
        _text(fields, "who"),
        at,
        _seconds(until) if isinstance(until, str) else None,
        source=source,
    )
    return Switched(at, switch, _text(fields, "action") == "on")


def _text(fields: dict[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _time(fields: dict[str, object]) -> float:
    try:
        return _seconds(_text(fields, "ts"))
    except ValueError:
        raise ValueError("ts is no time") from None


def _seconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None or moment.year < _FIRST_YEAR:
        raise ValueError("no time of a log line")
    return moment.timestamp()


def _why(error: Exception) -> str:
    """What is wrong with a line, without repeating what stands in it."""
    if isinstance(error, orjson.JSONDecodeError):
        return "not JSON"
    if isinstance(error, KeyError):
        return f"lacks {error.args[0]}"
    text = str(error)
    return "a word that this version does not know" if "is not a valid" in text else text or "damaged"
