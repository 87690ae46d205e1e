"""A site, a gateway before it that lets one agent there, and the environment in which clients find both."""

import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme

from tests.clients.site import HOST, Site, site
from tests.doors.conftest import Running, StartGateway, policy_of, pytest_asyncio_loop_factories, start, tool

__all__ = ["pytest_asyncio_loop_factories", "start", "tool"]

AGENT, RUN, TOKEN = "browser-agent", "task-1", "browser-agents-token"
CONFIGURATION = ("PIP_", "GIT_", "NODE_", "NPM_", "CURL_", "SSL_", "REQUESTS_", "WGET")
"""Beginnings of variables by which a machine's owner sets clients up."""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No client hears of this machine's proxies, registries, certificates or home."""
    for name in list(os.environ):
        if name.upper().startswith(CONFIGURATION) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    for name, value in {"HOME": home, "PIP_CONFIG_FILE": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}.items():
        monkeypatch.setenv(name, str(value))


@dataclass
class Authority:
    """Who vouches for the site: known to every client, by whatever name each has for that, and to nobody else."""

    file: Path
    context: ssl.SSLContext
    """For servers."""


@pytest.fixture(scope="session")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(HOST).configure_cert(context)
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    ca.cert_pem.write_to_path(str(file))
    return Authority(file, context)


@pytest.fixture
def authority(issued: Authority, monkeypatch: pytest.MonkeyPatch) -> Authority:
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS"):
        monkeypatch.setenv(name, str(issued.file))
    (Path(os.environ["HOME"]) / ".wgetrc").write_text(f"ca_certificate = {issued.file}\n")
    return issued


@pytest.fixture
async def there(authority: Authority) -> AsyncIterator[Site]:
    async with site(authority.context) as served:
        yield served


@dataclass
class Way:
    """The way out: a gateway, and what a client is told of it."""

    running: Running
    monkeypatch: pytest.MonkeyPatch

    @property
    def address(self) -> str:
        """HOST:PORT of the proxy."""
        return self.running.gateway.data_url.removeprefix("http://")

    @property
    def proxy(self) -> str:
        return f"http://{RUN}:{TOKEN}@{self.address}"

    def set_environment(self) -> None:
        """As docs/egress.md says."""
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            self.monkeypatch.setenv(name, self.proxy)
        for name in ("no_proxy", "NO_PROXY"):
            self.monkeypatch.setenv(name, self.address.rpartition(":")[0])

    async def tools(self, calls: int) -> list[str]:
        """The tools of so many calls, all of which are the agent's and the run's, by this door."""
        await self.running.seen.ended(calls)
        records = self.running.seen.records
        assert {(r.door, r.agent_id, r.run_id) for r in records} == {("egress", AGENT, RUN)}
        return [record.tool for record in records]


async def lead(start: StartGateway, monkeypatch: pytest.MonkeyPatch, ports: list[int], calls: int = 100) -> Way:
    """To these ports of HOST; a run has so many calls."""
    methods = ("http.get", "http.post", "http.put", "http.connect")
    policy = policy_of(
        {name: {"max_request_bytes": "4 MiB"} for name in methods},
        egress={"allow_hosts": [HOST], "ports": ports, "allow_private": ["127.0.0.0/8", "::1/128"]},
        agents={
            AGENT: {"token": "${env:BROWSER_AGENT_TOKEN}", "allowlist": ["http.*"]},
            "default": {"allowlist": []},
        },
    )
    running = await start(policy, BROWSER_AGENT_TOKEN=TOKEN, AGENT_MAX_TOOL_CALLS=str(calls))
    return Way(running, monkeypatch)


@pytest.fixture
async def way(there: Site, start: StartGateway, monkeypatch: pytest.MonkeyPatch) -> Way:
    """To the site, with more calls than a test makes."""
    return await lead(start, monkeypatch, there.ports)


@pytest.fixture
async def short_way(there: Site, start: StartGateway, monkeypatch: pytest.MonkeyPatch) -> Way:
    """One on which a run has two calls."""
    return await lead(start, monkeypatch, there.ports, calls=2)
