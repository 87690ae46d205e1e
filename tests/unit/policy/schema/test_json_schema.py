import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from gateway.policy.schema.json_schema import json_schema

SHIPPED = Path(__file__).parents[4] / "policies"


def valid(policy: Any) -> bool:
    return jsonschema_rs.Draft202012Validator(json_schema()).is_valid(policy)


def test_the_schema_beside_the_shipped_policies_is_this_one() -> None:
    assert json.loads((SHIPPED / ".schema.json").read_text("utf-8")) == json_schema()


@pytest.mark.parametrize("file", sorted(SHIPPED.glob("**/policy.yaml")), ids=lambda path: path.parent.name)
def test_editors_accept_every_shipped_policy(file: Path) -> None:
    assert valid(yaml.safe_load(file.read_text("utf-8")))


def test_editors_refuse_what_is_not_built() -> None:
    assert not valid({"governed": {"enabled": False}})


@pytest.mark.parametrize("policy", [{"tols": {}}, {"mode": "loud"}, {"tools": {"retries": {"max": 11}}}, {"runs": []}])
def test_editors_refuse_what_the_gateway_refuses(policy: object) -> None:
    assert not valid(policy)
