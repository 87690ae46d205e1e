"""docs/egress.md does what it says: its policy loads, and what it tells to paste goes where it says, through a gateway of its own."""

import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
import yaml

from gateway.settings import Address
from tests.deploy.stack import clean_environment, free_address, wait_until_ready

GUIDE = (Path(__file__).resolve().parents[2] / "docs/egress.md").read_text("utf-8")
HERE = "127.0.0.2"
"""A target that is neither the gateway nor in the guide's no_proxy."""
TOKEN = "browser-agents-token"

pytestmark = pytest.mark.needs("curl")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE, re.DOTALL)


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"a page"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Not to stderr."""


@contextmanager
def target(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """api.example.com, as it were."""
    server = ThreadingHTTPServer((HERE, 0), Page)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Guided:
    """The guide's policy in force, and its text with the addresses that the test has."""

    def __init__(self, data: Address, plain: int, encrypted: int, authority: Path) -> None:
        self._data, self._plain, self._encrypted = data, plain, encrypted
        self._authority = authority

    def here(self, text: str) -> str:
        text = text.replace("127.0.0.1:8080", str(self._data))
        text = text.replace("http://api.example.com", f"http://{HERE}:{self._plain}")
        return text.replace("https://api.example.com", f"https://{HERE}:{self._encrypted}")

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        exports = "\n".join(line for line in blocks("sh")[0].splitlines() if line.startswith("export "))
        environ = clean_environment(BROWSER_AGENT_TOKEN=TOKEN, CURL_CA_BUNDLE=str(self._authority))
        return subprocess.run(
            ["sh", "-c", self.here(f"{exports}\n{script}")], env=environ, capture_output=True, text=True, timeout=60
        )


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guided]:
    folder = tmp_path_factory.mktemp("guide")
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(HERE).configure_cert(context)
    ca.cert_pem.write_to_path(str(folder / "ca.pem"))
    data, admin = free_address(), free_address()
    with target() as plain, target(context) as encrypted:
        policy = yaml.safe_load(blocks("yaml")[0])
        policy["egress"] = {"allow_hosts": [HERE], "ports": [plain, encrypted], "allow_private": ["127.0.0.0/8"]}
        (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
        environ = clean_environment(
            BROWSER_AGENT_TOKEN=TOKEN,
            GATEWAY_POLICY=str(folder / "policy.yaml"),
            GATEWAY_LISTEN=str(data),
            GATEWAY_ADMIN_LISTEN=str(admin),
            GATEWAY_STATE="memory:",
            GATEWAY_LOG=os.devnull,
        )
        process = subprocess.Popen([sys.executable, "-m", "gateway", "serve"], env=environ, text=True)
        try:
            wait_until_ready(admin, process)
            yield Guided(data, plain, encrypted, folder / "ca.pem")
        finally:
            process.kill()
            process.wait(20)


def test_the_guides_policy_loads_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(blocks("yaml")[0])
    command = [sys.executable, "-m", "gateway", "check", str(tmp_path)]
    environ = clean_environment(BROWSER_AGENT_TOKEN=TOKEN)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "warning" not in done.stdout


def test_the_lines_to_paste_go_where_the_guide_says(guided: Guided) -> None:
    lines = [line.partition("  #") for line in blocks("sh")[0].splitlines() if line.startswith("curl ")]
    assert len(lines) == 4
    for command, _, comment in lines:
        done = guided.shell(f"{command.strip()} -s")
        assert done.returncode == 0, (command, done.stderr)
        if "refused: " in comment:
            assert f"Tool-Gateway-Reason: {comment.rpartition(' ')[2]}" in done.stdout
        else:
            assert done.stdout.endswith("a page")
            assert "Tool-Gateway-Reason: ok" in done.stdout


def test_the_lines_of_python_do_what_they_say(guided: Guided, tmp_path: Path) -> None:
    (tmp_path / "clients.py").write_text(guided.here(blocks("python")[0]))
    done = guided.shell(f"{sys.executable} {tmp_path}/clients.py")
    assert (done.stdout, done.stderr) == ("200 200\n", "")


def test_the_question_to_explain_is_answered(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(blocks("yaml")[0])
    [question] = re.findall(r"`tool-gateway (explain [^`]*)`", GUIDE)
    environ = clean_environment(
        BROWSER_AGENT_TOKEN=TOKEN, GATEWAY_POLICY=str(tmp_path), GATEWAY_ADMIN_LISTEN=str(free_address())
    )
    command = f"{sys.executable} -m gateway {question}"
    done = subprocess.run(command, shell=True, env=environ, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ALLOWED: http.get for browser-agent")
