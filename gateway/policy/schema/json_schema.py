"""The policy's JSON Schema for editors: what `tool-gateway schema` prints and policies/.schema.json holds."""

from typing import Any

from gateway.policy.plans.arguments import DRAFT
from gateway.policy.schema.sections import NOT_YET, Policy

_REFUSED = {"not": {}, "description": "not supported by this version"}


def json_schema() -> dict[str, Any]:
    """Written out without `$ref`, so that keys of features that are not built can be refused one by one."""
    whole = Policy.model_json_schema()
    definitions = whole.pop("$defs")
    schema: dict[str, Any] = _tidy(whole, definitions)
    for key in NOT_YET:
        *above, last = key.split(".")
        node = schema
        for step in above:
            node = node["additionalProperties"] if step == "*" else node["properties"][step]
        node["properties"][last] = _REFUSED
    return {"$schema": DRAFT, "title": "tool-gateway policy", **schema}


def _tidy(node: Any, definitions: dict[str, Any]) -> Any:
    """Without generated titles and whole sections as defaults, and with every `$ref` replaced by what it names."""
    if isinstance(node, list):
        return [_tidy(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if node.get("$ref") is not None:
        named = definitions[node["$ref"].rpartition("/")[2]]
        return _tidy({**named, **node, "$ref": None}, definitions)
    tidy = {}
    for key, value in node.items():
        if key == "properties":
            tidy[key] = {name: _tidy(below, definitions) for name, below in value.items()}
        elif key == "default":
            if not isinstance(value, dict) and value is not None:
                tidy[key] = value
        elif key not in ("title", "$ref"):
            tidy[key] = _tidy(value, definitions)
    return tidy
