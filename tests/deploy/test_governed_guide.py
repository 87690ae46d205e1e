"""docs/governed.md does what it says: its policy loads, and its lines of Python run against a gateway that has it."""

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from gateway.doors.governed.policies import TEMPLATES
from tests.deploy.stack import GatewayProcess, clean_environment

GUIDE = (Path(__file__).resolve().parents[2] / "docs/governed.md").read_text("utf-8")
SHIPPED = Path(__file__).resolve().parents[2] / "policies/governed/policy.yaml"
KEYS = {"GOVERNED_API_KEY": "a-key", "GOVERNED_ADMIN_KEY": "another-key", "PARTNER_SECRET": "a-partner's-secret"}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)


class Search(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"found": 1}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Not to stderr."""


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Search)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        upstream = f"http://127.0.0.1:{server.server_port}"
        folder = tmp_path_factory.mktemp("guide") / "gateway"
        with GatewayProcess(folder, upstream=upstream, policy=blocks("yaml")[0], environment=KEYS) as gateway:
            yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_lines_of_python_do_what_they_say(guided: GatewayProcess, tmp_path: Path) -> None:
    script = "\n".join(blocks("python")).replace("127.0.0.1:8080", str(guided.data))
    (tmp_path / "agent.py").write_text(script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "agent.py")],
        env=clean_environment(**KEYS),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("executed {'found': 1}\n", "")


def test_the_shipped_policy_opens_the_door_in_the_same_way() -> None:
    guide, shipped = yaml.safe_load(blocks("yaml")[0]), yaml.safe_load(SHIPPED.read_text("utf-8"))
    for section in ("egress", "governed"):
        assert shipped[section] == guide[section]
    assert shipped["tools"]["allowlist"] == guide["tools"]["allowlist"]


def test_the_guide_tells_the_contents_of_every_template() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", GUIDE, re.MULTILINE))
    for name, contents in TEMPLATES.items():
        assert f"{contents['max_actions_per_hour']:,}" in rows[name]
        assert f"${contents['max_spend_usd_per_day']:g} a day" in rows[name]
        for tool in contents.get("blocked_tools", []):  # type: ignore[attr-defined]  # a list, where it is one
            assert f'"{tool}"' in rows[name]
