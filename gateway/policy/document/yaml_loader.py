"""Strict YAML: bytes → a plain tree with places, or problems. Works on the parser's events, so nothing recurses and nothing multiplies.

Anchors, aliases, merge keys and tags are refused outright: a policy has no use for them, and each is a way to hide something.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

# From its modules, since `serve` loads yaml by need: readers in Python and all that writes YAML are a quarter of it.
from yaml._yaml import CParser
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from gateway.policy.document.problems import MOST_PROBLEMS, Mark, Path, Place, PolicyError, Problem, dotted, shown_name
from gateway.policy.document.scalars import Ambiguous, read_plain

LARGEST = 8 * 1024 * 1024
DEEPEST = 64
MOST_VALUES = 500_000
"""Ten thousand tools with a route, limits and an arguments schema each have fewer; they take some seconds."""
LONGEST_TEXT = 64 * 1024
_PIECE = 1 << 20
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_START = Place(1, 1)
_HINTS = {
    "cannot start any token": "a tab? Indent with spaces, and quote a text that starts with @, % or `",
    "expected alphabetic or numeric": "quote a text that starts with * or &",
    "did not find expected key": "look at the indentation, and at the line above",
    "did not find expected '-'": "look at the indentation, and at the line above",
    "did not find expected ','": "a bracket that is not closed, or a ${…} without quotes?",
    "unexpected end of stream": "a quote that is not closed?",
    "mapping values are not allowed": "a text with a colon needs quotes; a key and its value stand on a line of their own",
    "simple key": "a key without its colon?",
    "unknown escape": "in double quotes a backslash is written twice",
    "found undefined tag": "tags (!…) are not taken, write the plain value",
}
"""The parser's words, and what usually lies behind them."""
_ALIAS = Ambiguous("*", "an alias")


@dataclass(frozen=True, slots=True)
class Document:
    """A file's tree of dict, list, str, int, float, bool, None and Ambiguous; `problems` are those that left the tree whole."""

    file: str
    value: object
    mark: Mark
    problems: tuple[Problem, ...]


def load(content: bytes, file: str) -> Document:
    """Raises PolicyError where no tree can be made; problems met before that are told with it."""
    text = _decode(content, file)
    builder = _Builder(file)
    try:
        for event in _events(text):
            builder.take(event)
    except YAMLError as error:
        builder.problems.append(Problem(file, _place_of(error), "", f"not YAML: {_cause(error)}"))
        raise PolicyError(builder.problems) from None
    except _GaveUp:
        raise PolicyError(builder.problems) from None
    if builder.root is None:
        raise PolicyError([*builder.problems, Problem(file, _START, "", "the file is empty")])
    return Document(file, builder.root, builder.mark, tuple(builder.problems))


def _decode(content: bytes, file: str) -> str:
    if len(content) > LARGEST:
        raise PolicyError([Problem(file, _START, "", f"larger than 8 MiB ({len(content)} bytes)")])
    if content.startswith(_BYTE_ORDER_MARKS):
        raise PolicyError([Problem(file, _START, "", "starts with a byte order mark: save it as UTF-8 without one")])
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        place = _place_at(content[: error.start].decode(errors="replace"))
        raise PolicyError([Problem(file, place, "", "not UTF-8: save the file as UTF-8")]) from None
    # Piece by piece, for one search of it all would hold up every other thread.
    pieces = (_UNPRINTABLE.search(text, start, start + _PIECE) for start in range(0, len(text), _PIECE))
    odd = next(filter(None, pieces), None)
    if odd:
        place = _place_at(text[: odd.start()])
        remedy = "save the file as UTF-8 text" if odd.group() == "\0" else "remove it"
        raise PolicyError([Problem(file, place, "", f"control character U+{ord(odd.group()):04X}: {remedy}")])
    return text


def _place_at(before: str) -> Place:
    return Place(before.count("\n") + 1, len(before) - before.rfind("\n"))


def _place_of(error: YAMLError) -> Place:
    mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
    return Place(mark.line + 1, mark.column + 1) if mark is not None else _START


def _cause(error: YAMLError) -> str:
    """The parser's own words, which repeat no value."""
    problem = error.problem if isinstance(error, MarkedYAMLError) else None
    if problem is None:
        return "the text cannot be read"
    return problem + next((f" ({hint})" for words, hint in _HINTS.items() if words in problem), "")


def _events(text: str) -> Iterator[Event]:
    parser = CParser(_Pieces(text))  # type: ignore[arg-type]  # asks for a default that nobody uses
    while (event := parser.get_event()) is not None:
        yield event


class _Pieces:
    """A text as a stream. The native parser comes out to ask for more, which is when other threads get their turn."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def read(self, size: int, /) -> str:
        piece = self._text[self._at : self._at + size]
        self._at += size
        return piece


class _GaveUp(Exception):
    """Reading on would be of no use; the findings say why."""


@dataclass(slots=True)
class _Frame:
    """A mapping or list that is still open."""

    value: dict[str, object] | list[object]
    mark: Mark
    awaits_key: bool
    key: str | None = None
    """The key whose value comes next; None after a key that was refused: its value is read and dropped."""
    key_place: Place = _START


class _Builder:
    """Takes events one by one. An explicit stack of frames stands where other loaders recurse."""

    def __init__(self, file: str) -> None:
        self._file = file
        self.mark = Mark(_START)
        self.problems: list[Problem] = []
        self.root: object = None
        self._frames: list[_Frame] = []
        self._values = 0
        self._documents = 0

    def take(self, event: Event) -> None:
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    self._give_up(event, "a second YAML document: a policy is one")
            case AliasEvent():
                self._refuse(
                    event, f"alias *{shown_name(event.anchor or '')}: aliases are not taken, write the value out"
                )
                self._add(event, _ALIAS)
            case ScalarEvent():
                self._refuse_properties(event)
                if len(event.value) > LONGEST_TEXT:
                    self._give_up(event, f"a text of {len(event.value)} characters: at most {LONGEST_TEXT} are taken")
                plain = not event.style
                self._add(event, read_plain(event.value) if plain else event.value)
            case MappingStartEvent() | SequenceStartEvent():
                self._refuse_properties(event)
                self._open(event)
            case MappingEndEvent() | SequenceEndEvent():
                self._frames.pop()
            case _:
                pass

    def _open(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        if len(self._frames) >= DEEPEST:
            self._give_up(event, f"nested deeper than {DEEPEST} levels")
        is_mapping = isinstance(event, MappingStartEvent)
        value: dict[str, object] | list[object] = {} if is_mapping else []
        mark = Mark(_place(event)) if self._frames else self.mark
        self._add(event, value, mark)
        self._frames.append(_Frame(value, mark, awaits_key=is_mapping))

    def _add(self, event: Event, value: object, mark: Mark | None = None) -> None:
        """Puts a value where the open frame wants it: as key, under its key, or at the end of a list. A scalar has no mark."""
        self._values += 1
        if self._values > MOST_VALUES:
            self._give_up(event, f"more than {MOST_VALUES} values")
        place = _place(event)
        if not self._frames:
            self.root = value
            self.mark.place = place
            return
        frame = self._frames[-1]
        if isinstance(frame.value, list):
            frame.mark.children[len(frame.value)] = mark or place.pack()
            frame.value.append(value)
        elif frame.awaits_key:
            frame.awaits_key = False
            frame.key = None
            frame.key = self._key(frame, value if mark is None else event, place)
            frame.key_place = place
        else:
            frame.awaits_key = True
            if mark is not None:
                mark.place = frame.key_place
            if frame.key is not None:
                frame.mark.children[frame.key] = mark or frame.key_place.pack()
                frame.value[frame.key] = value

    def _key(self, frame: _Frame, value: object, place: Place) -> str | None:
        if not isinstance(value, str):
            if value != _ALIAS:
                self._report(place, _key_problem(value))
            return None
        if value in frame.value:
            first = frame.mark.find((value,))
            self._report(place, f"duplicate key, first at {first.line}:{first.column}", (*self._path(), value))
            return None
        return value

    def _refuse_properties(self, event: ScalarEvent | CollectionStartEvent) -> None:
        if event.anchor is not None:
            self._refuse(event, f"anchor &{shown_name(event.anchor)}: anchors are not taken, remove it")
        if event.tag is not None:
            self._refuse(event, "tags (!…) are not taken, write the plain value")

    def _path(self) -> Path:
        """The value that comes next."""
        steps: list[str | int] = []
        for frame in self._frames:
            innermost = frame is self._frames[-1]
            if isinstance(frame.value, list):
                steps.append(len(frame.value) - (0 if innermost else 1))
            elif frame.key is not None and not (innermost and frame.awaits_key):
                steps.append(frame.key)
        return tuple(steps)

    def _refuse(self, event: Event, text: str) -> None:
        self._report(_place(event), text)

    def _report(self, place: Place, text: str, path: Path | None = None) -> None:
        key = dotted(self._path() if path is None else path)
        self.problems.append(Problem(self._file, place, key, text))
        if len(self.problems) > MOST_PROBLEMS:
            raise _GaveUp

    def _give_up(self, event: Event, text: str) -> NoReturn:
        self._refuse(event, text)
        raise _GaveUp


def _place(event: Event) -> Place:
    mark = event.start_mark
    return Place(mark.line + 1, mark.column + 1) if mark is not None else _START


def _key_problem(value: object) -> str:
    if isinstance(value, Ambiguous):
        merge = value.text == "<<"
        return (
            "merge keys are not taken, write the values out"
            if merge
            else f"a key must be text, got {value.kind}: quote it"
        )
    if isinstance(value, Event):
        return "a key must be text, got a mapping or a list"
    return "a key must be text, got a number, true, false or null: quote it"
