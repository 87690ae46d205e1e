"""Heads that differ in certain values alone: a length, a run, a step, the ids of a trace. What one of them asks follows from another.

They may be taken although aiohttp's parser has not seen their very bytes. It reads a head byte by byte, and in the value of a header that
means nothing to it a visible character leaves it where it was, as a digit does in a Content-Length: so it reads two heads alike that are
the same but for such values, and one of them it has read. What the doors make of those values is said here once more, and believed only
after it was compared with what they made of a head.
"""

import re
from collections.abc import Mapping, Sequence
from secrets import token_hex

from gateway.doors.identity import MAX_STEP, RUN_ID, step_in, trace_in
from gateway.doors.understood import Understood

_LENGTH, _RUN, _STEP, _TRACE = b"content-length", b"agent-run-id", b"agent-step", b"traceparent"
_PASSED_ON = (
    "tracestate", "x-request-id", "x-correlation-id", "b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "sentry-trace",
    "x-datadog-trace-id", "x-datadog-parent-id",
)  # fmt: skip
"""What clients make up anew for each request, and no door looks at."""
_READ = b"|".join([_LENGTH, _RUN, _STEP, _TRACE])
_VARYING = re.compile(
    rb"(\r\n(?:%b): ?)([!-~]{1,256})(?=\r\n)" % b"|".join([_READ, *(name.encode() for name in _PASSED_ON)]),
    re.IGNORECASE,
)
_READ_ELSEWHERE = re.compile(rb"\n(?:%b)[ \t]*:" % _READ, re.IGNORECASE)
"""In another spelling: the doors may read this one instead of the one that varies."""
_NUMBER = re.compile(rb"[1-9][0-9]{0,7}")
"""Of a length: 0 is another matter, and nothing else has two spellings."""

Shape = tuple[bytes, ...]
"""A head without the values that vary: what stands before and between them, and the names of their headers in turn."""


def taken_apart(head: bytes) -> tuple[Shape, list[bytes]]:
    """Its shape, and its values in their order."""
    parts = _VARYING.split(head)
    values = parts[2::3]
    del parts[2::3]
    return tuple(parts), values


def put_together(shape: Shape, values: Sequence[bytes]) -> bytes:
    """The head again."""
    return (
        b"".join(text + name + value for text, name, value in zip(shape[::2], shape[1::2], values, strict=False))
        + shape[-1]
    )


def marks_for(shape: Shape, length: int) -> list[bytes] | None:
    """Values of their own kind that are found again wherever they have gone, for a body of this length. None: a name stands twice."""
    names = names_in(shape)
    if len(set(names)) < len(names) or any(map(_READ_ELSEWHERE.search, shape[::2])):
        return None
    trace = f"00-{token_hex(16)}-{token_hex(8)}-01".encode()
    said = {_LENGTH: b"%d" % length, _STEP: b"%d" % MAX_STEP, _TRACE: trace}
    return [said.get(name) or token_hex(16).encode() for name in names]


def names_in(shape: Shape) -> list[bytes]:
    """The headers whose values vary."""
    return [name.strip(b"\r\n: ").lower() for name in shape[1::2]]


class Form:
    """All heads of one shape, by the one that came with marks in the place of its values: where a mark has gone, there the value goes."""

    __slots__ = ("_behind", "_headers", "_length", "_marked", "_opening", "_order", "_run", "_step", "_trace")

    def __init__(self, shape: Shape, marks: Sequence[bytes], marked: Understood) -> None:
        """Raises ValueError where a mark is found more than once."""
        place = {name: index for index, name in enumerate(names_in(shape))}
        numbers = place.get(_LENGTH), place.get(_STEP)
        call, said = marked.asked, {mark.decode(): at for at, mark in enumerate(marks) if at not in numbers}
        self._marked = marked
        self._length = place.get(_LENGTH)
        self._run = place.get(_RUN) if call.run.id in said else None
        self._step = place.get(_STEP) if call.step is not None else None
        self._trace = place.get(_TRACE) if call.trace_id is not None else None
        self._headers = [(at, said[value]) for at, (_, value) in enumerate(call.headers) if value in said]
        self._behind = [
            (at, said[value]) for at, value in enumerate(marked.behind) if isinstance(value, str) and value in said
        ]
        self._opening, self._order = _template(marked.opening, marks, place)

    def understood(self, values: Sequence[bytes]) -> Understood | None:
        """What the head with these values asks. None: that takes a closer look."""
        marked, said = self._marked, [value.decode() for value in values]
        length, run, behind = marked.length, marked.asked.run.id, [*marked.behind]
        for at, index in self._behind:
            behind[at] = said[index]
        if self._length is not None:
            length = int(said[self._length]) if _NUMBER.fullmatch(values[self._length]) else marked.longest + 1
        if self._run is not None:
            run = said[self._run]
        if self._step is not None:
            behind[0] = step_in(said[self._step])
        if self._trace is not None:
            behind[1] = trace_in(said[self._trace])
        if (
            length > marked.longest
            or (self._step is not None and behind[0] is None)
            or (run and not RUN_ID.fullmatch(run))
        ):
            return None
        headers = [*marked.asked.headers]
        for at, index in self._headers:
            headers[at] = (headers[at][0], said[index])
        opening = self._opening % tuple([values[index] for index in self._order])
        return marked.varied(length, opening, run, tuple(headers), tuple(behind))


def _template(opening: bytes, marks: Sequence[bytes], place: Mapping[bytes, int]) -> tuple[bytes, list[int]]:
    """The opening with a `%b` in the place of each mark, and which of the marks these are. Raises ValueError."""
    found = []
    for index, mark in enumerate(marks):
        if index == place.get(_STEP):
            continue  # it goes nowhere; and its mark is a number, which a header of the policy's may be as well
        framed = b"\r\nContent-Length: %b\r\n" % mark if index == place.get(_LENGTH) else b": %b\r\n" % mark
        if opening.count(framed) > 1:
            raise ValueError("a mark that stands twice marks nothing")
        if (at := opening.find(framed)) >= 0:
            found.append((at + framed.index(mark), index))
    template, end = b"", 0
    for at, index in sorted(found):
        template += opening[end:at].replace(b"%", b"%%") + b"%b"
        end = at + len(marks[index])
    return template + opening[end:].replace(b"%", b"%%"), [index for _, index in sorted(found)]
