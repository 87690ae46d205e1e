"""The incident: keys that agents and tools carry were read in the gateway's log. Here each is planted in a place and sought everywhere."""

import json
import signal
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.deploy.stack import TOKEN
from tests.doors.tool_server import ToolServer, reset, status
from tests.doors.wire import dial, request
from tests.scenarios.installation import Installation, ended, eventually
from tests.unit.observers.planted_secrets import CREDENTIALS, some

SECRETS = {
    "argument": CREDENTIALS["github"],
    "argument by its key": some(24),
    "result": CREDENTIALS["stripe"],
    "query": CREDENTIALS["aws"],
    "query by its key": some(24),
    "rest of the path": CREDENTIALS["slack"],
    "header": some(32),
    "cookie": some(32),
    "foreign bearer": some(32),
    "injected header": some(32),
    "error text": CREDENTIALS["openai"],
    "broken answer": some(32),
    "agent token": some(32),
    "wrong agent token": some(32),
    "run id": some(32) + " ",
    "tool name": CREDENTIALS["gitlab"],
    "native path": CREDENTIALS["npm"],
    "request line": some(32),
    "body that is no JSON": CREDENTIALS["google"],
    "argument that breaks the schema": CREDENTIALS["anthropic"],
    "fetched URL": CREDENTIALS["huggingface"],
    "explained argument": CREDENTIALS["sendgrid"],
    "wrong admin token": some(32),
    "admin token": TOKEN,
}
PIECE = 10
"""Characters of a secret that are too many wherever they stand together."""
POLICY = {
    "tools": {
        "allowlist": ["search.read", "notes.write", "web.all", "http.get", "down.read"],
        "retries": {"max": 1, "backoff_ms": [5]},
        "definitions": {
            "search.read": {"effect": "read", "upstream": "tools", "path": "/search"},
            "notes.write": {
                "upstream": "tools",
                "path": "/notes",
                "arguments": {"properties": {"text": {"maxLength": 9}, "n": {"type": "integer"}}},
            },
            "web.all": {"effect": "read", "upstream": "tools", "route": "ANY /web/{rest*}", "path": "/web/{rest*}"},
            "down.read": {"effect": "read", "upstream": "down", "path": "/down"},
        },
    },
    "egress": {"allow_hosts": ["127.0.0.1"]},
    "agents": {"billing": {"token": "${env:AGENT}"}, "default": {}},
    "observability": {"sampled_tool_results": True, "result_sample_rate": 1.0, "max_logged_bytes": 4096},
}


def traces(text: str) -> set[str]:
    """The places whose secret, or a piece of it, stands in the text."""
    return {
        place
        for place, secret in SECRETS.items()
        if any(secret[at : at + PIECE] in text for at in range(len(secret) - PIECE + 1))
    }


def plant(installation: Installation, tool: ToolServer) -> None:
    upstreams = {
        "tools": {"url": tool.url, "headers": {"Authorization": "Bearer ${env:INJECTED}"}},
        "down": {"url": "http://127.0.0.1:1", "headers": {"X-Api-Key": "${env:INJECTED}"}},
    }
    installation.write_policy(POLICY | {"upstreams": upstreams})
    installation.environment |= {
        "INJECTED": SECRETS["injected header"],
        "AGENT": SECRETS["agent token"],
        "AGENT_MAX_TOOL_CALLS": "1000",
    }


async def leaky(request: web.Request) -> web.StreamResponse:
    """What a careless tool sends back: its own secret, and the credential that the gateway injected."""
    body = {"found": SECRETS["result"], "you_sent": request.headers["Authorization"]}
    return web.json_response(body, headers={"Set-Cookie": f"session={SECRETS['cookie']}"})


async def confessing(request: web.Request) -> web.StreamResponse:
    return web.Response(status=500, text=f"cannot log in with {SECRETS['error text']}")


async def no_http(request: web.Request) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.write(f"HTTP/1.1 {SECRETS['broken answer']}\r\n\r\n".encode())
    request.transport.close()
    return web.Response()


async def answers_of_all_kinds(installation: Installation, tool: ToolServer) -> list[tuple[str, str]]:
    """Calls that succeed, are refused and fail, with secrets all over them: the reason and all of each answer that the gateway made."""
    told = []
    async with installation.agent() as agent:

        async def ask(path: str, method: str = "POST", **options: Any) -> None:
            async with agent.request(method, path, **options) as answer:
                body = await answer.text()
                ours = body if answer.content_type == "application/problem+json" else ""
                names = [f"{n}: {v}" for n, v in answer.headers.items() if n.lower() != "set-cookie"]
                told.append((answer.headers["Tool-Gateway-Reason"], "\n".join([*names, ours])))

        secret = SECRETS
        arguments = {"q": secret["argument"], "password": secret["argument by its key"]}
        carried = {"X-Api-Key": secret["header"], "Cookie": f"sid={secret['cookie']}"}
        query = f"?key={secret['query']}&token={secret['query by its key']}"
        tool.replies += [leaky, leaky, leaky, confessing, no_http, no_http, reset, reset, status(503), status(503)]
        await ask(f"/runs/r1/tools/search.read{query}", json=arguments, headers=carried)
        await ask(f"/runs/r1/tools/web.all/{secret['rest of the path']}{query}", "GET", headers=carried)
        await ask(f"/web/{secret['rest of the path']}{query}", "GET", headers={"Agent-Token": secret["agent token"]})
        for _ in range(4):  # the tool's error, a broken answer, a reset, a failing tool
            await ask(f"/runs/r1/tools/search.read{query}", json=arguments, headers=carried)
        await ask("/tools/down.read", json=arguments)
        await ask("/tools/search.read", json={}, headers={"Authorization": f"Bearer {secret['foreign bearer']}"})
        await ask("/tools/search.read", json={}, headers={"Agent-Token": secret["wrong agent token"]})
        await ask("/tools/search.read", json={}, headers={"Agent-Run-Id": secret["run id"] + "!"})
        await ask("/tools/search.read", json={}, headers={"Agent-Step": secret["header"]})
        await ask("/tools/search.read", json={}, headers={"Origin": f"http://{secret['header']}"})
        await ask(f"/tools/{secret['tool name']}", json=arguments)
        await ask(f"/{secret['native path']}{query}", "GET")
        await ask("/tools/notes.write", json={"text": secret["argument that breaks the schema"]})
        await ask("/tools/notes.write", json={"n": secret["argument that breaks the schema"]})
        await ask("/tools/notes.write", data=f'{{"text": "{secret["body that is no JSON"]}')
        await ask("/tools/notes.write", json={"text": "a", secret["argument"]: {"n": 1}})
        await ask("/tools/http.get", json={"url": f"http://127.0.0.1/{secret['fetched URL']}"})
        await ask("/tools/http.get", json={"url": f"http://user:{secret['fetched URL']}@127.0.0.1/"})
        await ask("/tools/http.get", json={"url": f"http://{secret['fetched URL']}.example/"})
    return told


async def malformed(installation: Installation) -> str:
    """What is answered to requests that are no HTTP."""
    answers = b""
    for data in (
        f"GET /{SECRETS['request line']} {SECRETS['request line']}/1.1\r\n\r\n".encode(),
        request("GET /tools/search.read", f"{SECRETS['header']}"),
        request("GET /tools/search.read", f"Content-Length: {SECRETS['header']}"),
        request(f"BREW /tools/search.read?{SECRETS['query']}"),
        request(f"GET /tools/%zz{SECRETS['rest of the path']}"),
    ):
        async with dial(installation.data) as wire:
            await wire.say(data)
            answer = await wire.answer()
            assert answer.status >= 400
            answers += answer.body + repr(answer.headers).encode()
    return answers.decode()


async def admin_plane(installation: Installation) -> str:
    """Everything it tells, to those with the token and to those without."""
    told = ""
    explained = {"agent": "default", "tool": "notes.write", "args": json.dumps({"n": SECRETS["explained argument"]})}
    wrong = {"Authorization": f"Bearer {SECRETS['wrong admin token']}"}
    async with installation.operator() as operator:
        for path in ("calls?limit=1000", "policy", "status", "runs", "upstreams", "kill-switches", "rollout"):
            async with operator.get(f"/v1/{path}") as answer:
                assert answer.status == 200
                told += await answer.text()
            async with operator.get(f"/v1/{path}", headers=wrong) as answer:
                assert answer.status in (401, 429)
                told += await answer.text()
        async with operator.get("/metrics") as answer:
            told += await answer.text()
        async with operator.get("/v1/explain", params=explained) as answer:
            assert (await answer.json())["reason"] == "arguments_not_allowed"
            told += await answer.text()
        policy = json.dumps({"upstreams": {"x": {"url": f"http://u:{SECRETS['header']}@h/"}}})
        async with operator.post("/v1/policy/check", data=policy) as answer:
            assert not (await answer.json())["ok"]
            told += await answer.text()
    return told


async def command_line(installation: Installation) -> str:
    told = ""
    args = json.dumps({"n": SECRETS["explained argument"]})
    for command in (
        ["status"],
        ["status", "--json"],
        ["check"],
        ["check", "--json"],
        ["explain", "--agent", "billing", "--tool", "notes.write", "--args", args, "--json"],
    ):
        end = await installation.run(*command)
        assert end.code == 0
        told += end.out + end.err
    return told


async def test_a_planted_secret_reaches_no_output(installation: Installation, tool: ToolServer) -> None:
    plant(installation, tool)
    process = await installation.begin()
    told = await answers_of_all_kinds(installation, tool)
    assert {reason for reason, _ in told} == {
        *("ok", "tool_error", "upstream_failed", "unauthenticated", "invalid_request", "tool_not_allowed"),
        *("arguments_not_allowed", "egress_not_allowed", "circuit_open"),
    }
    shown = {
        "answers": "\n".join(text for _, text in told),
        "answers to what is no HTTP": await malformed(installation),
        "admin plane": await admin_plane(installation),
        "command line": await command_line(installation),
    }
    await eventually(lambda: len(installation.lines("tool_call")) >= len(told))
    end = await ended(process, signal.SIGTERM)
    shown |= {"stdout": end.out, "stderr": end.err, "log": installation.log.read_text(), "state": stored(installation)}
    nowhere: dict[str, set[str]] = {where: set() for where in shown}
    echoed = {"answers": {"tool name"}}  # to its caller alone: it is a valid name (SPEC 11)
    assert {where: traces(text) for where, text in shown.items()} == nowhere | echoed
    sampled = [line for line in installation.lines("tool_call") if line["sampled"]]
    assert len(sampled) >= len(told) / 2  # the payloads were there to be redacted
    assert "redacted" in shown["log"]


def stored(installation: Installation) -> str:
    return "".join(Path(f).read_bytes().decode("latin-1") for f in installation.folder.glob("gateway.db*"))


async def test_a_secret_written_into_the_policy_is_refused_and_not_repeated(installation: Installation) -> None:
    literal = CREDENTIALS["stripe"]
    for policy in (
        {"agents": {"billing": {"token": literal}}},
        {"upstreams": {"x": {"url": "http://h/", "headers": {"Authorization": f"Bearer {literal}"}}}},
        {"upstreams": {"x": {"url": f"http://user:{literal}@h/"}}},
    ):
        installation.write_policy(policy)
        for command in ("serve", "check"):
            end = await installation.run(command)
            assert end.code == (2 if command == "serve" else 1)
            assert "policy.yaml:1:" in end.out + end.err
            assert literal[:PIECE] not in end.out + end.err
