"""The policy's JSON Schema for editors: what `tool-gateway schema` prints and policies/.schema.json holds.

It says what sections.py, tools.py and upstreams.py say: types, bounds, defaults, and the words below each key.
"""

import ast
import inspect
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from gateway.policy.plans.arguments import DRAFT
from gateway.policy.schema import sections, tools, upstreams
from gateway.policy.schema.kinds import (
    Form,
    JsonObject,
    Kind,
    ListOf,
    MappingOf,
    Nullable,
    SectionOf,
    section_of,
)
from gateway.policy.schema.section import Section, is_required

_Json = dict[str, Any]
_Meanings = Mapping[tuple[str, str], str]


def json_schema() -> _Json:
    """Written out without `$ref`."""
    return {"$schema": DRAFT, "title": "tool-gateway policy", **_of(section_of(sections.Policy), _meanings())}


def _of(kind: Kind, meanings: _Meanings) -> _Json:
    match kind:
        case Form():
            return {"description": kind.describe, **(kind.json or {"type": "string"})}
        case Nullable():
            return {"anyOf": [_of(kind.kind, meanings), {"type": "null"}]}
        case ListOf():
            return {"items": _of(kind.item, meanings), "type": "array"}
        case MappingOf():
            names, entries = _of(kind.name, meanings), _of(kind.entry, meanings)
            return {"additionalProperties": entries, "propertyNames": names, "type": "object"}
        case SectionOf():
            return _section(kind, meanings)
        case JsonObject():
            return {"additionalProperties": True, "type": "object"}
    raise TypeError(type(kind).__name__)


def _section(kind: SectionOf, meanings: _Meanings) -> _Json:
    section = kind.section
    schema: _Json = {
        "additionalProperties": False,
        "description": inspect.getdoc(section),
        "properties": {key: _key(section, key, below, meanings) for key, below in kind.keys.items()},
        "type": "object",
    }
    return schema | ({"required": sorted(kind.required)} if kind.required else {})


def _key(section: type[Section], key: str, kind: Kind, meanings: _Meanings) -> _Json:
    schema = _of(kind, meanings)
    meaning = next(
        (meanings[above.__name__, key] for above in section.__mro__ if (above.__name__, key) in meanings), None
    )
    if meaning is not None:
        expected = schema.get("description")
        schema["description"] = f"{meaning} Expected: {expected}." if isinstance(kind, Form) else meaning
    default = None if is_required(section, key) else getattr(section, key)
    if default is not None and not isinstance(default, Section | Mapping):
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def _meanings() -> _Meanings:
    """By section and key: the docstring below the key, which is there in the source alone."""
    return {
        (section.name, key.target.id): below.value.value
        for module in (sections, tools, upstreams)
        for section in ast.parse(inspect.getsource(module)).body
        if isinstance(section, ast.ClassDef)
        for key, below in pairwise(section.body)
        if isinstance(key, ast.AnnAssign) and isinstance(key.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }
