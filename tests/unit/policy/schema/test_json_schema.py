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


@pytest.mark.parametrize("policy", [{"tols": {}}, {"mode": "loud"}, {"tools": {"retries": {"max": 11}}}, {"runs": []}])
def test_editors_refuse_what_the_gateway_refuses(policy: object) -> None:
    assert not valid(policy)


def test_editors_show_the_words_below_a_key_and_what_it_takes() -> None:
    rate = json_schema()["properties"]["observability"]["properties"]["result_sample_rate"]
    assert rate == {
        "description": "Share of the runs whose calls are logged with payloads. Expected: a number 0..1.",
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.01,
    }


def test_a_server_shares_the_words_of_an_upstream() -> None:
    upstream, server = (
        json_schema()["properties"][name]["additionalProperties"] for name in ("upstreams", "mcp_servers")
    )
    assert upstream["properties"]["headers"] == server["properties"]["headers"]
    assert upstream["properties"]["url"] != server["properties"]["url"]
