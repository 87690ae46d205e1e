"""What /openapi.json says of an answer, held against the answer."""

import json
import re
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from gateway.admin.openapi import document


@cache
def described() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(document())
    return found


@cache
def operation_of(method: str, path: str) -> dict[str, Any] | None:
    """The first that takes the path, as the server looks for it: literals stand before names."""
    for template, operations in described()["paths"].items():
        pattern = re.sub(r"\{\w+\}", ".+" if template.startswith("/v1/kill-switches") else "[^/]+", template)
        if method.lower() in operations and re.fullmatch(pattern, path):
            found: dict[str, Any] = operations[method.lower()]
            return found
    return None


def conforms(method: str, path: str, status: int, media: str, text: str) -> None:
    """Fails where the document does not foresee such an answer."""
    operation = operation_of(method, path)
    if operation is None or status in (405, 500):
        return
    response = operation["responses"].get(str(status))
    assert response is not None, f"{method} {path}: {status} is not described"
    content = response["content"].get(media)
    assert content is not None, f"{method} {path}: {status} is described as {[*response['content']]}, not as {media}"
    if media.endswith("json"):
        schema = {**content["schema"], "components": described()["components"]}
        problems = [
            f"{each.instance_path} {each.message}"
            for each in Draft202012Validator(schema).iter_errors(json.loads(text))
        ]
        assert not problems, f"{method} {path}: {problems}"
