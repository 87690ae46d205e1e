"""Who gets into the admin plane: the token, Host and Origin, and what is told to those who do not."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gateway.admin.connection import MOST_CONNECTIONS
from tests.admin.admin_plane import BEARER, TOKEN, Operator, started

PROTECTED = [
    "/v1/calls/stream",
    "/v1/blast-radius",
    "/v1/status",
    "/v1/policy",
    "/v1/kill-switches",
    "/v1/runs",
    "/v1/calls",
    "/v1/explain",
    "/nothing",
]


@pytest.mark.parametrize("path", PROTECTED)
async def test_without_the_token_nothing_is_answered_not_even_whether_it_exists(operator: Operator, path: str) -> None:
    body = await operator.get(path, 401, headers={})
    assert body["detail"] == (
        "The admin token is missing: send `Authorization: Bearer TOKEN`, where TOKEN is what GATEWAY_ADMIN_TOKEN holds."
    )


async def test_401_says_how_to_set_a_token_where_none_is_left(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN)
    async with started(tmp_path, without="GATEWAY_ADMIN_TOKEN", GATEWAY_ADMIN_TOKEN_FILE=str(file)) as operator:
        await operator.get("/v1/status", 200)
        file.unlink()
        body = await operator.get("/v1/status", 401)
    assert body["detail"] == (
        "No admin token is set: create var/admin_token (`tool-gateway init` does), or start the gateway with"
        " GATEWAY_ADMIN_TOKEN_FILE or GATEWAY_ADMIN_TOKEN."
    )


async def test_a_wrong_token_is_refused_and_guessing_is_slowed_but_never_locks_the_operator_out(
    operator: Operator,
) -> None:
    wrong = {"Authorization": "Bearer not-it"}
    for _ in range(10):
        assert "This is not the admin token" in str((await operator.get("/v1/status", 401, headers=wrong))["detail"])
    for _ in range(2):
        assert (await operator.get("/v1/status", 429, headers=wrong))["title"] == "Too Many Requests"
    assert operator.seen.of("admin_token_guessed") == [{"times": 10}]
    await operator.get("/v1/status", 200)
    await operator.get("/v1/status", 401, headers={})


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer "])
async def test_the_scheme_is_written_any_way(operator: Operator, scheme: str) -> None:
    await operator.get("/v1/status", 200, headers={"Authorization": f"{scheme} {TOKEN}"})


@pytest.mark.parametrize("value", [TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer ", ""])
async def test_any_other_authorization_is_none(operator: Operator, value: str) -> None:
    await operator.get("/v1/status", 401, headers={"Authorization": value})


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8081", "[::1]:8081", "10.1.2.3", "ops.example:8081", "Ops.Example."]
)
async def test_these_hosts_are_answered(tmp_path: Path, host: str) -> None:
    async with started(tmp_path, GATEWAY_ADMIN_HOSTS="ops.example") as operator:
        await operator.get("/v1/status", 200, headers={**BEARER, "Host": host})


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a@localhost", "localhost/x", "[::1].evil"],
)
async def test_a_rebound_name_is_refused_whoever_asks(operator: Operator, host: str) -> None:
    body = await operator.get("/v1/status", 403, headers={**BEARER, "Host": host})
    assert "GATEWAY_ADMIN_HOSTS" in str(body["detail"])
    assert "evil" not in str(body)


async def test_probes_answer_any_host_without_a_token(operator: Operator) -> None:
    for path in ("/healthz", "/readyz"):
        await operator.get(path, 200, headers={"Host": "10-1-2-3.pods.example"})


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", "file://", "", "http://["])
async def test_pages_of_another_origin_are_refused(operator: Operator, origin: str) -> None:
    body = await operator.get("/v1/status", 403, headers={**BEARER, "Origin": origin})
    assert body["detail"] == "Pages of another origin may not call the admin plane."


async def test_pages_of_its_own_origin_are_answered(operator: Operator) -> None:
    await operator.get("/v1/status", 200, headers={**BEARER, "Origin": operator.gateway.admin_url})


async def test_the_data_plane_knows_no_admin_path(operator: Operator) -> None:
    async with operator.session.get(operator.gateway.data_url + "/v1/kill-switches", headers=BEARER) as response:
        assert response.status in (401, 403)
        assert "kill_switches" not in await response.text()


async def test_unknown_paths_and_methods_are_one_sentence(operator: Operator) -> None:
    assert (await operator.get("/v1/nothing", 404))[
        "detail"
    ] == "The admin plane of this version has nothing at this path."
    assert "does not take that method" in str((await operator.post("/v1/status", status=405))["detail"])


@pytest.mark.parametrize(
    "request_line", ["GET /v1/status HTTP/9.9", "secret-of-someone", "G<T / HTTP/1.1", "\x16\x03\x01"]
)
async def test_what_is_no_http_is_answered_without_repeating_it_and_prints_nothing(
    operator: Operator, request_line: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = (await sent_raw(operator, f"{request_line}\r\nX-Key: secret\r\n\r\n")).partition("\r\n\r\n")
    assert answer[0].startswith("HTTP/1.0 400 Bad Request\r\nContent-Type: application/problem+json")
    assert json.loads(answer[2])["detail"] == "The request is not valid HTTP/1.1."
    assert "aiohttp" not in answer[0]
    assert (capfd.readouterr().err, caplog.records) == ("", [])


async def test_connections_that_are_only_held_keep_no_operator_out_and_no_descriptors(operator: Operator) -> None:
    address = urlsplit(operator.gateway.admin_url)
    held = [await asyncio.open_connection(address.hostname, address.port) for _ in range(MOST_CONNECTIONS + 20)]
    await operator.get("/v1/status", 200)
    for reader, _ in held[:20]:
        assert await asyncio.wait_for(reader.read(), 5) == b""
    for _, writer in held:
        writer.close()


async def test_a_client_that_asks_before_it_sends_its_body_is_told_to_go_on_once_it_may(operator: Operator) -> None:
    asks = "POST /v1/policy/check HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n"
    assert (await sent_raw(operator, f"{asks}Connection: close\r\n\r\n")).startswith("HTTP/1.1 401 ")
    token = f"Authorization: {BEARER['Authorization']}\r\n"
    answer = await sent_raw(operator, f"{asks}{token}Connection: close\r\n\r\n", "{}\n")
    assert answer.startswith("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")


async def test_head_is_answered_as_get_is_but_without_a_body(operator: Operator) -> None:
    asked = f"HEAD /v1/status HTTP/1.1\r\nHost: localhost\r\nAuthorization: {BEARER['Authorization']}\r\nConnection: close\r\n\r\n"
    head, _, body = (await sent_raw(operator, asked)).partition("\r\n\r\n")
    assert (head.split("\r\n")[0], body) == ("HTTP/1.1 200 OK", "")


async def sent_raw(operator: Operator, text: str, when_told_to_go_on: str = "") -> str:
    address = urlsplit(operator.gateway.admin_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(text.encode("latin-1"))
    first = await reader.readuntil(b"\r\n\r\n") if when_told_to_go_on else b""
    writer.write(when_told_to_go_on.encode())
    answer = first + await reader.read()
    writer.close()
    return answer.decode()


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/v1/status", 401), ("/nothing", 401)])
async def test_no_answer_names_the_server_software_and_its_version(operator: Operator, path: str, status: int) -> None:
    async with operator.session.get(operator.gateway.admin_url + path) as response:
        assert (response.status, response.headers["Server"]) == (status, "tool-gateway")


async def test_a_bug_shows_no_traceback_and_leaves_its_place_in_the_log(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operator.gateway.operations, "recent", None)
    body = await operator.get("/v1/calls", 500)
    assert body["detail"] == "The gateway failed to answer; its log has the place (internal_error)."
    assert [str(event["where"]).split(":")[0] for event in operator.seen.of("internal_error")] == [
        "AttributeError at inspection.py"
    ]
