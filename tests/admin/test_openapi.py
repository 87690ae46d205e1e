"""GET /openapi.json describes what is served, no more and no less. All tests of this folder hold the answers they get against it."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from jsonschema_rs import is_valid, meta
from schemathesis import Case, GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from gateway.admin.api import make_admin
from gateway.admin.console.pages import is_page
from tests.admin.admin_plane import BEARER, Operator, started
from tests.admin.described import conforms, described

EXAMPLES = 8
"""Of each operation, good ones and bad ones each."""
CANDIDATE = "tools: {allowlist: [search.read], definitions: {search.read: {effect: read, upstream: search}}}\n"
Described = APIOperation[Any, Any, Any, Any]


def checks_named(*names: str) -> list[Any]:
    load_all_checks()
    return [*CHECKS.get_by_names([*names])]


EVERY_ANSWER = checks_named(
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
OF_BAD_ONES = checks_named("negative_data_rejection")


async def test_every_route_is_described_and_every_description_has_a_route(operator: Operator) -> None:
    gateway = operator.gateway
    admin = make_admin(gateway.operations, gateway.token, frozenset())
    served = {
        (method.lower(), without_forms(path)) for method, path in admin.routes if method != "HEAD" and not is_page(path)
    }
    document = await operator.get("/openapi.json", headers={})
    assert served == {(method, path) for path, each in document["paths"].items() for method in each}  # type: ignore[attr-defined]  # JSON
    assert ("get", "/v1/calls/stream") in served


def without_forms(path: str) -> str:
    return re.sub(r":[^}]*", "", path)


def test_it_is_openapi_3_1_and_its_schemas_are_schemas() -> None:
    document = described()
    assert document["openapi"] == "3.1.0"
    names = [each["operationId"] for path in document["paths"].values() for each in path.values()]
    assert len(names) == len({*names})
    for schema in document["components"]["schemas"].values():
        meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    used = {found for found in str(document["paths"]).split("'") if found.startswith("#/components/schemas/")}
    assert "#/components/schemas/KillOrder" in used


async def test_what_is_not_described_as_open_needs_the_token(operator: Operator) -> None:
    for path, operations in described()["paths"].items():
        for method, each in operations.items():
            url = operator.gateway.admin_url + path.replace("{", "").replace("}", "")
            async with operator.session.request(method, url) as answer:
                assert (answer.status == 401) == ("security" not in each), (method, path)
                conforms(method, path, answer.status, answer.content_type, await answer.text())


async def test_its_own_host_is_asked_for_but_no_token(operator: Operator) -> None:
    await operator.get("/openapi.json", 200, headers={})
    await operator.get("/openapi.json", 403, headers={"Host": "evil.example"})


async def test_a_gateway_with_much_to_tell_tells_it_as_described(tmp_path: Path) -> None:
    async with started(tmp_path) as operator:
        (operator.policy / "candidate.yaml").write_text(CANDIDATE)
        await operator.post("/v1/policy/reload", {"who": "ada", "reason": "a new candidate"})
        for tool, status in {"search.read": 502, "lost.tool": 403, "shell.run": 403}.items():
            refused = await operator.call(f"/runs/r1/tools/{tool}", status)
            await operator.get(f"/v1/calls/{refused['call_id']}")
        await operator.call("/tools/search.read", 502)
        for scope in ("writes", "run:default/r2"):
            await operator.post("/v1/kill-switches", {"scope": scope, "reason": "drill", "for_seconds": 60})
        for path in (
            "/healthz", "/readyz", "/v1/status", "/v1/policy", "/v1/kill-switches", "/v1/runs", "/v1/runs/default/r1", "/v1/calls",
            "/v1/upstreams", "/v1/rollout", "/v1/explain?agent=default&tool=search.read", "/v1/blast-radius?scope=all",
        ):  # fmt: skip
            await operator.get(path)
        await operator.post("/v1/runs/default/r1/stop", {"reason": "it loops"})
        await operator.post("/v1/rollout", {"action": "rollback", "reason": "worse"})
        assert (await operator.get("/v1/rollout"))["state"] == "rolled_back"


async def test_whatever_is_asked_the_answer_is_one_that_is_described(operator: Operator) -> None:
    """Well-formed questions and malformed ones, the same in each run of this test."""
    await operator.call("/runs/r1/tools/search.read", 502)
    asked = await asyncio.to_thread(lambda: sum(map(tried, operations(operator.gateway.admin_url))))
    assert asked > 20 * EXAMPLES
    assert operator.seen.of("internal_error") == []


def operations(url: str) -> Iterator[tuple[str, Described]]:
    """All but the stream, which does not end."""
    schema = schemathesis.openapi.from_dict(described())
    schema.config.update(base_url=url)
    for found in schema.get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        if operation.path != "/v1/calls/stream":
            yield url, operation


def tried(given_operation: tuple[str, Described]) -> int:
    """How often it was asked."""
    url, operation = given_operation
    asked = 0

    def ask(case: Case[Any]) -> None:
        nonlocal asked
        asked += 1
        bad = case.meta is not None and case.meta.generation.mode is GenerationMode.NEGATIVE
        checks = EVERY_ANSWER + (OF_BAD_ONES if bad and operation.path != "/v1/policy/check" else [])
        case.validate_response(case.call(base_url=url, headers=BEARER), checks=checks)

    bounded = settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
    )
    takes = bool(operation.body) or bool(operation.query) or bool(operation.path_parameters)
    for mode in GenerationMode if takes else [GenerationMode.POSITIVE]:
        seed(9)(bounded(given(operation.as_strategy(generation_mode=mode))(ask)))()
    return asked


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/v1/calls?agnet=a", "The query has an unknown member; known are tool, agent, run, reason, limit."),
        ("/v1/calls?tool=a&tool=b", "The query has a member twice."),
        ("/v1/blast-radius", "Give ?scope=; &cancel_in_flight= is optional."),
        ("/v1/blast-radius?scope=all&cancel_in_flight=yes", "cancel_in_flight: expected true or false."),
        ("/v1/runs?limit=0", "limit: expected an integer 1..1000."),
    ],
)
async def test_a_query_that_is_not_as_described_is_told_so(operator: Operator, path: str, detail: str) -> None:
    assert (await operator.get(path, 400))["detail"] == detail


@pytest.mark.parametrize(
    ("name", "example"),
    [
        ("KillOrder", {"scope": "all", "reason": " "}),
        ("KillOrder", {"scope": "all", "reason": "x", "for_seconds": 0}),
        ("KillOrder", {"scope": "all", "reason": "x", "forseconds": 1}),
        ("RollBackOrder", {"action": "promote", "reason": "x"}),
        ("RollBackOrder", {"action": "rollback"}),
    ],
)
async def test_what_a_form_refuses_its_schema_refuses(operator: Operator, name: str, example: object) -> None:
    assert not is_valid(described()["components"]["schemas"][name], example)
    path = "/v1/kill-switches" if name == "KillOrder" else "/v1/rollout"
    await operator.post(path, example, 400)


async def test_whoever_changes_something_is_in_the_log_with_the_reason(operator: Operator) -> None:
    await operator.call("/runs/r1/tools/search.read", 502)
    ada = {"who": "ada", "reason": "drill"}
    await operator.post("/v1/kill-switches", {"scope": "writes", **ada})
    await operator.delete("/v1/kill-switches/writes?who=ada&reason=drill")
    await operator.delete("/v1/kill-switches/writes", 404)
    await operator.post("/v1/runs/default/r1/stop", ada)
    await operator.post("/v1/policy/reload", ada)
    await operator.post("/v1/rollout", {"action": "rollback", **ada}, 404)
    told = [(e["action"], e["on"], e["who"], e["reason"], e["status"]) for e in operator.seen.of("operated")]
    assert told == [
        ("kill", "writes", "ada", "drill", 200),
        ("restore", "writes", "ada", "drill", 200),
        ("restore", "writes", "admin API", None, 404),
        ("stop", "default/r1", "ada", "drill", 200),
        ("reload", None, "ada", "drill", 200),
        ("roll_back", None, "ada", "drill", 404),
    ]
