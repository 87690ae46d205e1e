"""JSON Schema for a tool's arguments: compiled at load with everything refused that could load and do nothing; asked per call."""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from gateway.policy.document.problems import Path, dotted, shown_name

if TYPE_CHECKING:
    import jsonschema_rs

DRAFT = "https://json-schema.org/draft/2020-12/schema"

_ONE = "additionalProperties contains else if items not propertyNames then unevaluatedItems unevaluatedProperties"
_MANY = "allOf anyOf oneOf prefixItems"
_NAMED = "$defs dependentSchemas patternProperties properties"
_PLAIN = (
    "$anchor $comment $id $ref $schema const default dependentRequired deprecated description enum examples "
    "exclusiveMaximum exclusiveMinimum format maxContains maxItems maxLength maxProperties maximum minContains minItems "
    "minLength minProperties minimum multipleOf pattern readOnly required title type uniqueItems writeOnly"
)
_ONE_SCHEMA, _MANY_SCHEMAS, _NAMED_SCHEMAS = (frozenset(words.split()) for words in (_ONE, _MANY, _NAMED))
_KEYWORDS = _ONE_SCHEMA | _MANY_SCHEMAS | _NAMED_SCHEMAS | frozenset(_PLAIN.split())
_PHRASES = {
    "maxLength": "longer than {} characters",
    "minLength": "shorter than {} characters",
    "maximum": "greater than {}",
    "minimum": "less than {}",
    "exclusiveMaximum": "not less than {}",
    "exclusiveMinimum": "not greater than {}",
    "maxItems": "more than {} items",
    "minItems": "fewer than {} items",
    "maxProperties": "more than {} properties",
    "minProperties": "fewer than {} properties",
    "multipleOf": "not a multiple of {}",
    "format": "not of the format {}",
    "type": "not of type {}",
    "enum": "none of the listed values",
    "const": "not the one allowed value",
    "pattern": "does not match the pattern",
    "uniqueItems": "has an item twice",
    "false schema": "not allowed",
}


_NOT_JUDGED = "the arguments: cannot be judged, not plain JSON or nested too deep"
_MOST_TOLD = 100
_MOST_VALUES = 5000
_LONGEST_PATTERN = 500
_LONGEST_PATTERNS = 10_000
_LARGEST_PATTERN = 1 << 20
"""Bytes of one compiled pattern. Like the bounds above, far beyond what arguments need, and short enough in native code that no
other thread waits: the time a pattern takes grows with the square of its length."""
_DEEPEST = 128
"""The validator follows a schema that refers to itself as deep as the arguments go: some ten thousand levels end the process."""


class ArgumentsSchema:
    """A compiled schema. Formats are asserted; patterns run in linear time, so no argument can make them backtrack."""

    def __init__(self, validator: "jsonschema_rs.Draft202012Validator", *, recursive: bool) -> None:
        self._validator = validator
        self._recursive = recursive

    def objection(self, arguments: object) -> str | None:
        """Where and which rule fails, never a value; None where the arguments pass."""
        if self._recursive and _too_deep(arguments):
            return _NOT_JUDGED
        try:
            error = next(iter(self._validator.iter_errors(arguments)), None)
        except (ValueError, UnicodeError, OverflowError, RecursionError):
            return _NOT_JUDGED
        if error is None:
            return None
        where = dotted(tuple(error.instance_path)) or "the arguments"
        return f"{where}: {_phrase(error.kind.name, error.kind.as_dict())}"


def _too_deep(arguments: object) -> bool:
    level = [arguments]
    for _ in range(_DEEPEST):
        children = (
            value.values() if isinstance(value, dict) else value for value in level if isinstance(value, dict | list)
        )
        level = [child for below in children for child in below if isinstance(child, dict | list)]
        if not level:
            return False
    return True


def _phrase(keyword: str, facts: dict[str, Any]) -> str:
    if keyword == "required":
        return f"lacks {shown_name(str(facts.get('property')))}"
    if keyword in ("additionalProperties", "unevaluatedProperties"):
        names = facts.get("unexpected") or ["a property"]
        return f"{shown_name(str(names[0]))} is not a known property"
    limit = next(iter(facts.values()), "")
    words = " or ".join(str(word) for word in limit) if isinstance(limit, list) else str(limit)
    return _PHRASES.get(keyword, f"breaks the rule {keyword}").format(words)


def compile_arguments(schema: dict[str, Any]) -> tuple[ArgumentsSchema | None, list[tuple[Path, str]]]:
    """The compiled schema, or what is wrong with it, by place below the schema."""
    problems = list(islice(_unknown_keywords(schema), _MOST_TOLD)) or list(islice(_too_much(schema), 1))
    if problems:
        return None, problems
    # Imported here: a native library that only policies with argument schemas pay for.
    import jsonschema_rs

    try:
        validator = jsonschema_rs.Draft202012Validator(
            schema,
            validate_formats=True,
            ignore_unknown_formats=False,
            offline=True,
            pattern_options=jsonschema_rs.RegexOptions(size_limit=_LARGEST_PATTERN),
        )
    except jsonschema_rs.ValidationError as error:
        place = tuple(error.instance_path)
        return None, [(place, _schema_problem(place, error.kind.name, error.kind.as_dict()))]
    except (ValueError, OverflowError, RecursionError):
        return None, [((), "not a valid JSON Schema (draft 2020-12)")]
    return ArgumentsSchema(validator, recursive="'$ref'" in repr(schema)), []


def _schema_problem(place: Path, kind: str, facts: dict[str, Any]) -> str:
    if kind == "$ref":
        return "a $ref that leads nowhere: only places within this schema are taken, like #/$defs/name"
    last = place[-1] if place else None
    if last == "pattern" or (len(place) > 1 and place[-2] == "patternProperties"):
        return "not a regular expression that runs in linear time in little memory (no look-around, no back references, no large repeats)"
    if last == "format":
        return "a format that is not known, so it could not be asserted"
    return f"not a valid JSON Schema (draft 2020-12): {_phrase(kind, facts)}"


def _too_much(schema: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """Where a schema, or a pattern in it, is too large to compile quickly."""
    values, length = 0, 0
    stack: list[tuple[Path, object]] = [((), schema)]
    while stack:
        path, node = stack.pop()
        values += 1
        named = node if isinstance(node, dict) else {}
        for pattern in _patterns(path, node):
            length += len(pattern)
            if len(pattern) > _LONGEST_PATTERN:
                yield path, f"a pattern of {len(pattern)} characters: at most {_LONGEST_PATTERN} are taken"
        stack.extend(((*path, key), below) for key, below in named.items())
        stack.extend(((*path, index), below) for index, below in enumerate(node if isinstance(node, list) else []))
    if values > _MOST_VALUES:
        yield (), f"a schema of {values} values: at most {_MOST_VALUES} are taken"
    if length > _LONGEST_PATTERNS:
        yield (), f"patterns of {length} characters in all: at most {_LONGEST_PATTERNS} are taken"


def _patterns(path: Path, node: object) -> list[str]:
    if path[-1:] == ("pattern",) and isinstance(node, str):
        return [node]
    return list(node) if path[-1:] == ("patternProperties",) and isinstance(node, dict) else []


def _unknown_keywords(schema: dict[str, Any]) -> Iterator[tuple[Path, str]]:
    """A misspelt keyword is an annotation to JSON Schema, that is: a protection that does nothing."""
    stack: list[tuple[Path, object]] = [((), schema)]
    while stack:
        path, node = stack.pop()
        if not isinstance(node, dict):
            continue
        for key, value in node.items():
            if key not in _KEYWORDS:
                from difflib import get_close_matches  # for mistakes alone: a start without one need not have it

                near = get_close_matches(key[:40], _KEYWORDS, n=1, cutoff=0.6)
                yield (*path, key), "unknown JSON Schema keyword" + (f', did you mean "{near[0]}"?' if near else "")
            elif key == "$schema" and value != DRAFT:
                yield (*path, key), f"only draft 2020-12 is taken ({DRAFT})"
            elif key in _ONE_SCHEMA:
                stack.append(((*path, key), value))
            elif key in _MANY_SCHEMAS and isinstance(value, list):
                stack.extend(((*path, key, index), below) for index, below in enumerate(value))
            elif key in _NAMED_SCHEMAS and isinstance(value, dict):
                stack.extend(((*path, key, name), below) for name, below in value.items())
