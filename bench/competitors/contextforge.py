"""ContextForge with the tool registered as a REST tool, called by JSON-RPC: it takes no other calls."""

import http.client
import json

from bench.subjects import Call, Command, Place, Subject, in_venv, version_in_venv
from bench.wire import REQUEST_BODY

NAME = "search-read"
CALL = Call(
    path="/rpc",
    body=json.dumps(
        {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": NAME, "arguments": json.loads(REQUEST_BODY)},
        }
    ).encode(),
    expected=b"two leaves and a bud",
)


def command(place: Place) -> Command:
    environ = {
        "DATABASE_URL": f"sqlite:///{place.folder / 'mcp.db'}",
        "AUTH_REQUIRED": "false",
        "ALLOW_UNAUTHENTICATED_ADMIN": "true",
        "SSRF_ALLOW_LOCALHOST": "true",
        "LOG_LEVEL": "ERROR",
        "JWT_SECRET_KEY": "bench-key-of-no-value-but-long-enough-for-its-rules",
        "AUTH_ENCRYPTION_SECRET": "bench-salt-of-no-value-but-long-enough-for-its-rules",
        "PLATFORM_ADMIN_PASSWORD": "Bench-Password-0f-no-Value",
        "HOME": str(place.folder),
    }
    return Command([in_venv("contextforge", "mcpgateway"), "--host", "127.0.0.1", "--port", str(place.port)], environ)


def register(place: Place) -> None:
    tool = {
        "name": NAME,
        "url": f"http://127.0.0.1:{place.tool_port}/tools/search.read",
        "integration_type": "REST",
        "request_type": "POST",
        "input_schema": {"type": "object", "properties": {"q": {"type": "string"}}},
    }
    connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=30)
    connection.request("POST", "/tools", json.dumps({"tool": tool}), {"Content-Type": "application/json"})
    reply = connection.getresponse()
    said = reply.read()
    connection.close()
    if reply.status not in {200, 201, 409}:
        raise OSError(f"the tool was not registered: {reply.status} {said[:200]!r}")


def version() -> str:
    return version_in_venv("contextforge", "mcp-contextforge-gateway")


SUBJECTS = (
    Subject("ContextForge", version, command, CALL, register, slow=True, calls_per_second=5, most_connections=4),
)
