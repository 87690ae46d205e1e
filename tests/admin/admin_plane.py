"""A whole gateway in this process, on ports of the system's choosing, and a client of its admin plane."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

from aiohttp import ClientResponse, ClientSession

from gateway.app import Gateway
from gateway.model import Event, Record
from gateway.settings import read_settings
from tests.admin.described import conforms

TOKEN = "a-token-only-operators-know"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

POLICY = """\
tools:
  allowlist: ["search.read", "notes.write", "lost.tool"]
  definitions:
    search.read: {effect: read, upstream: search, arguments: {type: object, required: [q]}}
    notes.write: {effect: write, upstream: search}
upstreams:
  search: {url: "http://127.0.0.1:9", headers: {X-Team: tools}}
"""


class Seen:
    """An Observer that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def call_ended(self, record: Record) -> None:
        pass

    def happened(self, event: Event) -> None:
        self.events.append(event)

    def of(self, name: str) -> list[Mapping[str, object]]:
        return [event.fields for event in self.events if event.name == name]


class Operator:
    """Speaks to the admin plane with the token."""

    def __init__(self, gateway: Gateway, seen: Seen, session: ClientSession, folder: Path) -> None:
        self.gateway = gateway
        self.seen = seen
        self.session = session
        self.policy = folder / "policies"

    async def get(self, path: str, status: int = 200, headers: Mapping[str, str] = BEARER) -> dict[str, object]:
        async with self.session.get(self.gateway.admin_url + path, headers=headers) as response:
            return await _body(response, status)

    async def post(self, path: str, body: object = None, status: int = 200) -> dict[str, object]:
        async with self.session.post(self.gateway.admin_url + path, json=body, headers=BEARER) as response:
            return await _body(response, status)

    async def post_raw(self, path: str, body: bytes, status: int = 200) -> dict[str, object]:
        async with self.session.post(self.gateway.admin_url + path, data=BytesIO(body), headers=BEARER) as response:
            return await _body(response, status)

    async def delete(self, path: str, status: int = 200) -> dict[str, object]:
        async with self.session.delete(self.gateway.admin_url + path, headers=BEARER) as response:
            return await _body(response, status)

    async def call(self, path: str, status: int, headers: Mapping[str, str] | None = None) -> dict[str, object]:
        """A call through the data plane."""
        async with self.session.post(self.gateway.data_url + path, json={"q": "x"}, headers=headers) as response:
            return await _body(response, status)


async def _body(response: ClientResponse, status: int) -> dict[str, object]:
    body: dict[str, object] = await response.json(content_type=None)
    assert response.status == status, body
    if "/tools/" not in response.url.path:
        conforms(response.method, response.url.path, status, response.content_type, await response.text())
    if status >= 400:
        assert response.content_type == "application/problem+json"
    assert "Access-Control-Allow-Origin" not in response.headers
    return body


@asynccontextmanager
async def started(folder: Path, without: str = "", **environ: str) -> AsyncIterator[Operator]:
    """A gateway on POLICY (unless the folder has one) with its state in the folder."""
    policies = folder / "policies"
    if not policies.exists():
        policies.mkdir()
        (policies / "policy.yaml").write_text(POLICY)
    variables = {
        "GATEWAY_POLICY": str(policies),
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_TOKEN": TOKEN,
        "GATEWAY_STATE": f"sqlite:{folder / 'gateway.db'}",
        "GATEWAY_LOG": str(folder / "log"),
        **environ,
    }
    variables.pop(without, None)
    seen = Seen()
    gateway = Gateway(read_settings(variables), variables, seen)
    await gateway.start()
    try:
        async with ClientSession() as session:
            yield Operator(gateway, seen, session, folder)
    finally:
        await gateway.stop()
