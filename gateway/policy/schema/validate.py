"""A document against the schema: every error as a line with its place, what was expected, and no value that could be secret."""

import json
import re
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import isqrt
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.policy.document.problems import MOST_PROBLEMS, Findings, Path, Problem, looks_secret, suggestion
from gateway.policy.document.scalars import Ambiguous
from gateway.policy.document.yaml_loader import MOST_VALUES, Document
from gateway.policy.schema.fields import EXPECTED
from gateway.policy.schema.sections import NOT_IN_CANDIDATES, NOT_YET, KillSwitches, Policy

M = TypeVar("M", bound=BaseModel)

_LONGEST_SHOWN = 60
_PHRASES = {
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "dict_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "text",
    "tuple_type": "a list",
}
_MOST_ERRORS = 2 * MOST_PROBLEMS
"""Telling more than that takes so long in native code that other threads feel it."""
_MOST_JUDGED = 200
"""With more errors than that a file is no policy: no names are suggested, and the rest is not judged."""
_NOT_TEXT = ("an integer", "a number", "a size", "true or false", "one of", "a list", "a mapping", "a time")

_Table = dict[str, "_Table | bool"]


def _table(keys: tuple[str, ...]) -> _Table:
    """Such keys as nested dicts, so that a look-up is a probe a step."""
    table: _Table = {}
    for key in keys:
        node = table
        *above, last = key.split(".")
        for step in above:
            below = node.setdefault(step, {})
            node = below if isinstance(below, dict) else {}
        node[last] = True
    return table


_NOT_YET = _table(NOT_YET)
_NOT_IN_CANDIDATES = _table(NOT_IN_CANDIDATES)
_UNBUILT = "not supported by this version"
_STAYS = "stays as in policy.yaml: a candidate holds tools, upstreams, egress, runs and the limits of agents"


@dataclass(frozen=True, slots=True)
class Read(Generic[M]):
    """What a document says. With problems, `value` holds what could still be read, so that the rest is judged too."""

    value: M | None
    problems: tuple[Problem, ...]
    doubtful: frozenset[Path]
    """What was left out of `value`; no conclusions may be drawn from its absence."""


def read_policy(document: Document) -> Read[Policy]:
    """A policy.yaml."""
    known_wrong = chain(_refused(document.value, _NOT_YET, _UNBUILT), _ambiguous_arguments(document.value))
    return _read(Policy, document, (), known_wrong)


def read_candidate(document: Document) -> Read[Policy]:
    """A candidate.yaml: the sections that the value has set, and no others, take the place of the live policy's."""
    known_wrong = chain(
        _refused(document.value, _NOT_IN_CANDIDATES, _STAYS),
        _refused(document.value, _NOT_YET, _UNBUILT),
        _ambiguous_arguments(document.value),
    )
    return _read(Policy, document, (), known_wrong)


def read_switches(document: Document) -> Read[KillSwitches]:
    """A kill_switch.yaml: the section's keys, with or without `kill_switch:` above them."""
    value = document.value
    under = ("kill_switch",) if isinstance(value, dict) and set(value) == {"kill_switch"} else ()
    return _read(KillSwitches, document, under, ())


def _read(model: type[M], document: Document, under: Path, known_wrong: Iterable[tuple[Path, str]]) -> Read[M]:
    findings = Findings(document.file, document.mark)
    doubtful: set[Path] = set()
    value = document.value
    for step in under:
        value = value[step] if isinstance(value, dict) else None
    for path, text in islice(known_wrong, _MOST_ERRORS):
        if path not in doubtful:
            findings.add(path, text)
            doubtful.add(path)
    read = _validate(model, _without(value, doubtful), under, findings, doubtful)
    if read is None and len(doubtful) < _MOST_JUDGED:
        read = _validate(model, _without(value, doubtful), under, None, set())
    known = {problem.key for problem in document.problems}
    problems = [*document.problems, *(problem for problem in findings.problems if problem.key not in known)]
    return Read(read, tuple(problems), frozenset(under + path for path in doubtful))


def _validate(model: type[M], value: object, under: Path, findings: Findings | None, doubtful: set[Path]) -> M | None:
    """Tells the findings and adds to doubtful what has to go for the rest to be valid."""
    try:
        return model.model_validate(value)
    except ValidationError as errors:
        few = errors if errors.error_count() <= _MOST_ERRORS else _errors_of_the_first(model, value)
        for number, error in enumerate(few.errors(include_url=False)):
            known_to = model if number < _MOST_JUDGED else None
            path, text = _explain(
                known_to, error["type"], tuple(error["loc"]), error["msg"], error.get("ctx"), error["input"]
            )
            if findings is not None:
                findings.add(under + path, text)
            doubtful.add(path)
    return None


def _errors_of_the_first(model: type[BaseModel], value: object) -> ValidationError:
    """The errors among the first so many entries of each mapping and list: as many entries as have errors, but not too many."""
    without, too_many = 1, MOST_VALUES
    while True:
        most = isqrt(without * too_many)
        try:
            model.model_validate(_first(value, most))
            count = 0
        except ValidationError as errors:
            count = errors.error_count()
            if count <= _MOST_ERRORS or most == without:
                return errors
        if count:
            too_many = most
        elif most == without:  # the next entry brings them all
            without = too_many
        else:
            without = most


def _first(value: object, most: int) -> object:
    if isinstance(value, dict):
        return {key: _first(below, most) for key, below in islice(value.items(), most)}
    if isinstance(value, list):
        return [_first(below, most) for below in value[:most]]
    return value


def _explain(
    model: type[BaseModel] | None, kind: str, loc: Path, message: str, context: dict[str, Any] | None, value: object
) -> tuple[Path, str]:
    if kind == "extra_forbidden":
        return loc, _unknown_key(model, loc) if model is not None else "unknown key"
    if kind == "missing":
        return loc, "required key is missing"
    path = loc[:-1] if loc and loc[-1] == "[key]" else loc
    if kind == EXPECTED:
        phrase = message
    elif kind == "literal_error":
        phrase = "one of " + ", ".join(re.findall(r"'([^']*)'", str((context or {}).get("expected"))))
    else:
        phrase = _PHRASES.get(kind, "another value")
    got = _shown(value, path)
    if isinstance(value, Ambiguous) and not phrase.startswith(_NOT_TEXT):
        got += ": quote it if text is meant"
    return path, f"expected {phrase}" + (f", got {got}" if got else "")


def _unknown_key(model: type[BaseModel], loc: Path) -> str:
    known = [key for key in _known_keys(model, loc[:-1]) if _in_table(_NOT_YET, (*loc[:-1], key)) is not True]
    return "unknown key" + suggestion(str(loc[-1]), known)


def _known_keys(annotation: Any, path: Path) -> list[str]:
    """The keys of the section at `path`, found by walking the annotations."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        if not path:
            return sorted(fields)
        return _known_keys(fields[str(path[0])].annotation, path[1:]) if path[0] in fields else []
    if typing.get_origin(annotation) is dict:
        return _known_keys(typing.get_args(annotation)[1], path[1:]) if path else []
    return next(filter(None, (_known_keys(part, path) for part in typing.get_args(annotation))), [])


def _shown(value: object, path: Path) -> str:
    """The value as a line may repeat it; "" for a text that could be a secret."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case Ambiguous():
            return value.kind
        case str() if _may_show(value, path):
            return json.dumps(
                value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…", ensure_ascii=False
            )
        case int() | float() if _may_show("", path):
            return str(value)
        case str():
            return ""
        case _:
            return "a number"


def _may_show(value: str, path: Path) -> bool:
    secret = any(
        isinstance(step, str) and (step in ("headers", "token", "url") or step.endswith("_key")) for step in path
    )
    return not secret and value.isprintable() and not looks_secret(value)


def _refused(value: object, table: _Table, why: str, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Keys that the table names, wherever they stand."""
    for step, below in _below(value):
        here = path + step
        match _in_table(table, here):
            case True:
                yield here, why
            case dict():
                yield from _refused(below, table, why, here)


def _in_table(table: _Table, path: Path) -> "_Table | bool":
    """What the table says at this path: True for one of its keys, a table where there are some below, else False."""
    node: _Table | bool = table
    for step in path:
        if not isinstance(node, dict):
            return False
        node = node.get(str(step), node.get("*", False))
    return node


def _ambiguous_arguments(value: object) -> Iterator[tuple[Path, str]]:
    """Inside an arguments schema any JSON goes, but no scalar that YAML readers disagree on."""
    for path, tool in _below(_below_one(value, ("tools", "definitions"))):
        start = ("tools", "definitions", *path, "arguments")
        stack: list[tuple[Path, object]] = [(start, tool.get("arguments"))] if isinstance(tool, dict) else []
        while stack:
            here, node = stack.pop()
            if isinstance(node, Ambiguous):
                yield here, f"expected JSON, got {node.kind}: quote it if text is meant"
            stack.extend(((*here, *step), below) for step, below in _below(node))


def _below_one(value: object, path: Path) -> object:
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _below(value: object) -> Iterator[tuple[Path, object]]:
    if isinstance(value, dict):
        yield from (((key,), below) for key, below in value.items())
    elif isinstance(value, list):
        yield from (((index,), below) for index, below in enumerate(value))


def _without(value: object, paths: set[Path]) -> object:
    """A copy without what stands at `paths`. Of a list with a bad item, the whole list goes, so that places stay true."""
    if not paths:
        return value
    if () in paths:
        return {}
    if not isinstance(value, dict):
        return value
    kept = {}
    for key, below in value.items():
        inner = {path[1:] for path in paths if path[0] == key}
        if () in inner or (isinstance(below, list) and inner):
            continue
        kept[key] = _without(below, inner)
    return kept
