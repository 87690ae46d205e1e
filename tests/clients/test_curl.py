"""curl's many ways to go through a proxy. What every client does: test_every_client.py."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from tests.clients.conftest import AGENT, RUN, TOKEN, Way
from tests.clients.everyday import command
from tests.clients.site import HOST, PAGE, Site

pytestmark = pytest.mark.needs("curl")


async def curl(*words: str) -> tuple[bytes, str]:
    """Output and, with --verbose, what it shows of the exchange."""
    code, out, told = await command("curl", "--silent", "--show-error", *words)
    assert code == 0, told
    return out, told


async def test_a_tunnel_for_what_is_not_encrypted(there: Site, way: Way) -> None:
    way.set_environment()
    out, _ = await curl("--proxytunnel", there.http)
    assert out == PAGE
    assert await way.tools(1) == ["http.connect"]
    assert there.plain.requests[0].header("Host") == [f"{HOST}:{there.plain.port}"]


async def test_http_1_0_from_the_client_on(there: Site, way: Way) -> None:
    way.set_environment()
    for words in (("--http1.0",), ("--http1.0", "--proxy1.0", way.proxy), ("--proxytunnel", "--proxy1.0", way.proxy)):
        out, _ = await curl(*words, there.http)
        assert out == PAGE
    assert await way.tools(3) == ["http.get", "http.get", "http.connect"]


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_an_upload_of_two_megabytes_that_waits_to_be_asked_for(
    there: Site, way: Way, tmp_path: Path, scheme: str
) -> None:
    way.set_environment()
    body = os.urandom(2 << 20)
    (tmp_path / "body").write_bytes(body)
    there.pages["/upload"] = PAGE
    url = there.https if scheme == "https" else there.http
    words = ["--upload-file", f"{tmp_path}/body", "--header", "Expect: 100-continue", "--expect100-timeout", "60"]
    out, told = await curl("--verbose", *words, f"{url}/upload")
    assert out == PAGE
    assert "HTTP/1.1 100 Continue" in told
    [request] = there.plain.requests + there.encrypted.requests
    assert (request.line, sha256(request.body).digest()) == ("PUT /upload HTTP/1.1", sha256(body).digest())
    assert await way.tools(1) == ["http.connect" if scheme == "https" else "http.put"]
    assert way.running.seen.records[0].bytes_in >= len(body)


async def test_many_requests_keep_one_connection_to_the_proxy(there: Site, way: Way) -> None:
    way.set_environment()
    out, _ = await curl("--write-out", " %{num_connects}\n", *[f"{there.http}/?{n}" for n in range(50)])
    assert out.splitlines() == [PAGE + b" 1"] + [PAGE + b" 0"] * 49
    assert [request.line for request in there.plain.requests] == [f"GET /?{n} HTTP/1.1" for n in range(50)]
    assert set(await way.tools(50)) == {"http.get"}


async def test_many_requests_in_one_tunnel_are_one_call(there: Site, way: Way) -> None:
    way.set_environment()
    out, _ = await curl(*[f"{there.https}/?{n}" for n in range(20)])
    assert out == PAGE * 20
    assert len(there.encrypted.requests) == 20
    assert there.encrypted.connections == 1
    assert await way.tools(1) == ["http.connect"]


async def test_a_refused_tunnel_is_explained_to_who_looks_closely(there: Site, way: Way) -> None:
    way.set_environment()
    code, _, told = await command("curl", "--verbose", "https://elsewhere.example/")
    assert code == 56
    assert "< HTTP/1.1 403 Forbidden (egress_not_allowed)" in told
    assert "< Tool-Gateway-Reason: egress_not_allowed" in told
    assert "403" in told.splitlines()[-1]
    await way.tools(1)


async def test_credentials_may_wait_until_they_are_asked_for(there: Site, way: Way) -> None:
    words = ["--proxy", f"http://{way.address}", "--proxy-user", f"{RUN}:{TOKEN}", "--proxy-anyauth", "--verbose"]
    for url in (there.http, there.https):
        out, told = await curl(*words, url)
        assert out == PAGE
        assert '< Proxy-Authenticate: Basic realm="tool-gateway"' in told
    await way.running.seen.ended(4)
    calls = [(r.agent_id, r.run_id, r.tool, r.status) for r in way.running.seen.records]
    assert calls == [
        ("default", None, "http.get", 407),
        (AGENT, RUN, "http.get", 200),
        ("default", None, "http.connect", 407),
        (AGENT, RUN, "http.connect", 200),
    ]


async def test_a_token_that_is_nobodys_is_asked_for_another(there: Site, way: Way) -> None:
    words = ["--proxy", f"http://{way.address}", "--proxy-user", f"{RUN}:another-token", "--verbose"]
    code, _, told = await command("curl", *words, there.https)
    assert code == 56
    assert "< HTTP/1.1 407 Proxy Authentication Required (unauthenticated)" in told
    assert there.encrypted.connections == 0


async def test_what_no_proxy_names_goes_there_by_itself(there: Site, way: Way) -> None:
    way.set_environment()
    out, _ = await curl("--noproxy", HOST, there.http)
    assert out == PAGE
    assert way.running.seen.records == []
