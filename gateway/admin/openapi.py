"""GET /openapi.json: the admin API in OpenAPI 3.1, made of its operations, their forms and the types of their answers. Nothing stands here
that stands in them.
"""

import re
from dataclasses import MISSING, fields
from enum import StrEnum
from functools import cache
from inspect import cleandoc
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import orjson

import gateway.admin.api  # noqa: F401  which makes the operations
from gateway.admin.answers import Problem
from gateway.admin.forms import Schema, kinds_of, required_of
from gateway.admin.operation import JSON, NOT_HERE, OPERATIONS, Operation
from gateway.version import product_version

PATH = "/openapi.json"
PROBLEM = "application/problem+json"
_PRIMITIVES = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
_GUARDED = {
    401: "The admin token is missing or wrong",
    **NOT_HERE,
    429: "Too many attempts with a wrong token",
}
_OF_A_BODY = {400: "The body is not as described", 408: "The body did not arrive in time", 413: "The body is too large"}
_OF_A_QUERY = {400: "The query is not as described"}


@cache
def document() -> bytes:
    """As it is served. Made once: it takes some milliseconds."""
    shapes: dict[str, Schema] = {}
    paths: dict[str, Schema] = {}
    for each in OPERATIONS:
        path = re.sub(r"\{(\w+):[^}]*\}", r"{\1}", each.path)
        paths.setdefault(path, {})[each.method.lower()] = _operation(each, shapes)
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "tool-gateway: admin plane",
                "version": product_version(),
                "description": "What operators can ask and do. Errors are problem documents (RFC 9457), one sentence each.",
            },
            "security": [{"token": []}],
            "paths": paths,
            "components": {
                "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
                "schemas": dict(sorted(shapes.items())),
            },
        }
    )


def _operation(each: Operation, shapes: dict[str, Schema]) -> Schema:
    described: Schema = {"operationId": each.name, "summary": each.summary}
    parameters = [_in_path(name) for name, kind in each.hints.items() if kind is str and name != "return"]
    if each.takes_policy:
        described["requestBody"] = {"required": True, "content": {"application/yaml": {"schema": {"type": "string"}}}}
    elif each.form is not None and each.method == "POST":
        described["requestBody"] = {
            "required": bool(required_of(each.form)),
            "content": {JSON: {"schema": _named(each.form.__name__, _of_form(each.form), shapes)}},
        }
    elif each.form is not None:
        parameters += _in_query(each.form)
    if parameters:
        described["parameters"] = parameters
    if each.open:
        described["security"] = []
    described["responses"] = _responses(each, shapes)
    return described


def _responses(each: Operation, shapes: dict[str, Schema]) -> Schema:
    body = each.takes_policy or (each.form is not None and each.method == "POST")
    problems = {
        **({} if each.open else _GUARDED),
        **(_OF_A_BODY if body else _OF_A_QUERY if each.form is not None else {}),
        **each.problems,
    }
    answered = {
        str(status): {"description": said, "content": {each.media: {"schema": _answer(each, status, shapes)}}}
        for status, said in each.statuses.items()
    }
    refused = {
        str(status): {
            "description": said,
            "content": {PROBLEM: {"schema": _of(each.shape.get(status, Problem), shapes)}},
        }
        for status, said in sorted(problems.items())
    }
    return {**answered, **refused}


def _answer(each: Operation, status: int, shapes: dict[str, Schema]) -> Schema:
    if each.media != JSON:
        return {"type": "string"}
    return _of(each.shape.get(status, each.hints["return"]), shapes)


def _in_path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _in_query(form: type) -> list[Schema]:
    required = required_of(form)
    return [
        {"name": name, "in": "query", "required": name in required, "schema": kind.schema}
        for name, kind in kinds_of(form).items()
    ]


def _of_form(form: type) -> Schema:
    defaults = {each.name: each.default for each in fields(form) if each.default not in (MISSING, None)}
    return {
        "type": "object",
        "description": cleandoc(form.__doc__ or ""),
        "properties": {
            name: {**kind.schema, **({"default": defaults[name]} if name in defaults else {})}
            for name, kind in kinds_of(form).items()
        },
        "required": required_of(form),
        "additionalProperties": False,
    }


def _of(kind: Any, shapes: dict[str, Schema]) -> Schema:
    """JSON Schema of a type of answers.py. Raises TypeError for what none of them is made of."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PRIMITIVES:
        return {"type": _PRIMITIVES[kind]}
    if kind is object:
        return {}
    if is_typeddict(kind):
        return _named(kind.__name__, _of_members(kind, shapes), shapes)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return {"type": "string", "enum": [member.value for member in kind]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin is list:
        return {"type": "array", "items": _of(inner[0], shapes)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _of(inner[1], shapes)}
    if origin in (Union, UnionType):
        return {"anyOf": [_of(one, shapes) for one in inner]}
    raise TypeError(kind)


def _of_members(kind: Any, shapes: dict[str, Schema]) -> Schema:
    return {
        "type": "object",
        "description": cleandoc(kind.__doc__ or ""),
        "properties": {name: _of(one, shapes) for name, one in get_type_hints(kind).items()},
        "required": sorted(kind.__required_keys__),
        "additionalProperties": False,
    }


def _named(name: str, shape: Schema, shapes: dict[str, Schema]) -> Schema:
    shapes[name] = shape
    return {"$ref": f"#/components/schemas/{name}"}
