"""A browser: it says who it is only once it is asked, and opens connections that nobody asked it for."""

import json
import shutil
from pathlib import Path

import pytest

from tests.clients.conftest import RUN, TOKEN, Way
from tests.clients.everyday import NODE, command
from tests.clients.site import PAGE, Site
from tests.mcp.node_tools import node

pytestmark = pytest.mark.needs("chromium-headless-shell")


async def test_pages_come_and_refusals_are_shown(there: Site, way: Way) -> None:
    browser = shutil.which("chromium-headless-shell")
    urls = [there.http, there.https, "http://elsewhere.example/", "https://elsewhere.example/"]
    script = [node(), str(Path(__file__).with_name("browse.cjs")), browser or "", way.running.gateway.data_url]
    code, out, complaint = await command(*script, RUN, TOKEN, *urls, NODE_PATH=str(NODE / "node_modules"))
    assert code == 0, complaint
    plain, encrypted, refused, no_tunnel = json.loads(out)
    assert plain == encrypted == {"status": 200, "text": PAGE.decode()}
    assert (refused["status"], json.loads(refused["text"])["reason"]) == (403, "egress_not_allowed")
    assert "ERR_TUNNEL_CONNECTION_FAILED" in no_tunnel["error"]
    first, *others = [(r.status, r.agent_id, r.run_id) for r in way.running.seen.records]
    assert first == (407, "default", None)
    assert others
