"""What operators may send: bodies and queries, member by member. Each kind of member is read by what describes it in /openapi.json."""

import json
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Annotated, Any, Protocol, TypeVar, get_type_hints

from gateway.admin.problems import Refused
from gateway.denial import Reason

ADMIN_API = "admin API"
"""Who did it, where nobody says."""
LARGEST_POLICY = 8 << 20
"""Bytes; what a policy file may have (SPEC 3)."""
LARGEST_BODY = 64 << 10
_LONGEST_REASON = 500
_LONGEST_SWITCH = 366 * 86400
_MOST_LISTED = 1000
_A_REASON = f"({'|'.join(reason.value for reason in Reason)})"
_REASONS = f"^(!?{_A_REASON}(,{_A_REASON})*)?$"
Schema = dict[str, object]


class Kind(Protocol):
    """Of a member: `schema` (JSON Schema 2020-12) says of its values what `read` holds them to."""

    @property
    def schema(self) -> Schema: ...

    def read(self, name: str, value: object) -> object:
        """Raises Refused with the form that is taken; never repeats the value."""
        ...


@dataclass(frozen=True)
class Line:
    """One line of text."""

    longest: int

    @property
    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1, "maxLength": self.longest, "pattern": r"\S"}

    def read(self, name: str, value: object) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > self.longest or not value.isprintable():
            raise Refused(400, f"{name}: expected one line of 1 to {self.longest} characters.")
        return value


@dataclass(frozen=True)
class Word:
    """This one, and no other yet; `instead` says what to do for others."""

    word: str
    instead: str

    @property
    def schema(self) -> Schema:
        return {"const": self.word}

    def read(self, name: str, value: object) -> str:
        if Line(20).read(name, value) != self.word:
            raise Refused(400, f"{name}: expected {self.word}. {self.instead}")
        return self.word


@dataclass(frozen=True)
class Seconds:
    """Above 0."""

    most: int

    @property
    def schema(self) -> Schema:
        return {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": self.most}

    def read(self, name: str, value: object) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= self.most:
            raise Refused(400, f"{name}: expected a number of seconds above 0 and up to {self.most}.")
        return float(value)


class Flag:
    """Of a body, or spelled out in a query."""

    @property
    def schema(self) -> Schema:
        return {"type": "boolean"}

    def read(self, name: str, value: object) -> bool:
        value = {"true": True, "false": False}.get(value) if isinstance(value, Spelled) else value
        if not isinstance(value, bool):
            raise Refused(400, f"{name}: expected true or false.")
        return value


@dataclass(frozen=True)
class Count:
    """Of things listed, in a query."""

    most: int

    @property
    def schema(self) -> Schema:
        return {"type": "integer", "minimum": 1, "maximum": self.most}

    def read(self, name: str, value: object) -> int:
        text = str(value)
        if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= self.most):
            raise Refused(400, f"{name}: expected an integer 1..{self.most}.")
        return int(text)


@dataclass(frozen=True)
class Text:
    """In a query; `more` narrows what is described, and whoever uses it checks that."""

    description: str
    more: tuple[tuple[str, object], ...] = ()

    @property
    def schema(self) -> Schema:
        return {"type": "string", "description": self.description, **dict(self.more)}

    def read(self, name: str, value: object) -> str:  # noqa: ARG002  as every kind has it: there is nothing to complain of
        return str(value)


class Json:
    """A document in a query."""

    @property
    def schema(self) -> Schema:
        return {"type": "string", "contentMediaType": "application/json"}

    def read(self, name: str, value: object) -> object:
        try:
            return json.loads(str(value))
        except (ValueError, RecursionError):
            raise Refused(400, f"{name} is not JSON.") from None


class Spelled(str):
    """A value of a query."""


@dataclass(frozen=True, kw_only=True)
class Signed:
    """What changes something says who wants it and why, for the log."""

    who: Annotated[str, Line(100)] = ADMIN_API
    reason: Annotated[str | None, Line(_LONGEST_REASON)] = None


@dataclass(frozen=True, kw_only=True)
class KillOrder:
    """A switch to put on: `all`, `writes`, `tool:PATTERN`, `agent:ID`, `run:ID` or `run:AGENT/ID`."""

    scope: Annotated[str, Line(300)]
    reason: Annotated[str, Line(_LONGEST_REASON)]
    who: Annotated[str, Line(100)] = ADMIN_API
    for_seconds: Annotated[float | None, Seconds(_LONGEST_SWITCH)] = None
    cancel_in_flight: Annotated[bool, Flag()] = False


@dataclass(frozen=True, kw_only=True)
class RollBackOrder:
    """The candidate is to be ignored until its content changes."""

    action: Annotated[str, Word("rollback", "Promotion is replacing policy.yaml.")]
    reason: Annotated[str, Line(_LONGEST_REASON)]
    who: Annotated[str, Line(100)] = ADMIN_API


@dataclass(frozen=True, kw_only=True)
class Foreseen:
    """Which switch?"""

    scope: Annotated[str, Text("as a switch has it")]
    cancel_in_flight: Annotated[bool, Flag()] = False


@dataclass(frozen=True, kw_only=True)
class RunsAsked:
    """Which runs?"""

    agent: Annotated[str | None, Text("of this agent")] = None
    limit: Annotated[int, Count(_MOST_LISTED)] = 100


@dataclass(frozen=True, kw_only=True)
class Filter:
    """Which calls? All that is said must fit (wanted.py)."""

    tool: Annotated[str, Text("a tool's name, a name with .* behind it, or *")] = ""
    agent: Annotated[str, Text("its id")] = ""
    run: Annotated[str, Text("its id")] = ""
    reason: Annotated[
        str,
        Text("with commas between them, or with ! before them all but those", (("pattern", _REASONS),)),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class CallsAsked(Filter):
    """And how many?"""

    limit: Annotated[int, Count(_MOST_LISTED)] = 100


@dataclass(frozen=True, kw_only=True)
class CallImagined:
    """Which call is to be explained?"""

    agent: Annotated[str, Text("its id")]
    tool: Annotated[str, Text("its name")]
    args: Annotated[object, Json()] = None
    run: Annotated[str | None, Text("its id")] = None


F = TypeVar("F")


@cache
def _kinds(hashable: Hashable) -> Mapping[str, Kind]:
    form: Any = hashable
    hints: dict[str, Any] = get_type_hints(form, include_extras=True)
    return {each.name: hints[each.name].__metadata__[0] for each in fields(form)}


def kinds_of(form: type) -> Mapping[str, Kind]:
    """In the order in which they are read."""
    return _kinds(form)


def required_of(form: type) -> list[str]:
    """Those that must be said."""
    return [each.name for each in fields(form) if each.default is MISSING]


def of_body(form: type[F], body: bytes) -> F:
    """Raises Refused. A member too many is refused, or one said twice: a mistake must not silently make a weaker switch."""
    if not body and not required_of(form):
        return form()
    try:
        members = json.loads(body, object_pairs_hook=_each_once)
    except (ValueError, RecursionError):
        raise Refused(400, "The body is not JSON.") from None
    if not isinstance(members, dict):
        raise Refused(400, "The body is not a JSON object.")
    kinds, required = kinds_of(form), required_of(form)
    read = {
        name: kind.read(name, members.pop(name, None))
        for name, kind in kinds.items()
        if name in members or name in required
    }
    if members:
        raise Refused(400, f"The body has an unknown member; known are {', '.join(kinds)}.")
    return form(**read)


def _each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise Refused(400, "The body has a member twice.")
    return members


def of_query(form: type[F], query: Mapping[str, str]) -> F:
    """Raises Refused, as `of_body` does: a mistyped filter must not silently list everything."""
    missing = [name for name in required_of(form) if name not in query]
    if missing:
        optional = [f"&{name}=" for name in kinds_of(form) if name not in required_of(form)]
        wanted = " and &".join(f"{name}=" for name in required_of(form))
        raise Refused(400, f"Give ?{wanted}; {', '.join(optional)} {'are' if optional[1:] else 'is'} optional.")
    kinds = kinds_of(form)
    if not kinds.keys() >= query.keys():
        raise Refused(400, f"The query has an unknown member; known are {', '.join(kinds)}.")
    if len(query) > len(query.keys() & kinds.keys()):  # aiohttp's mapping counts a repeated one each time
        raise Refused(400, "The query has a member twice.")
    return form(**{name: kind.read(name, Spelled(query[name])) for name, kind in kinds.items() if name in query})
