"""`simulate`: a log that a gateway wrote, under the same policy and under others; and what it does with files that are none."""

import gzip
import http.client
import json
import os
import pty
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.cli.command import Home, Said


class Tool(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        """Not to stderr."""


@pytest.fixture(scope="module")
def tool() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tool)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def policy(port: int) -> str:
    return f"""
tools:
  allowlist: [search.read, notes.write, away.read]
  definitions:
    search.read: {{effect: read}}
    notes.write: {{max_calls: 2}}
    away.read: {{upstream: away, effect: read, retries: {{max: 0}}}}
upstreams:
  default: {{url: "http://127.0.0.1:{port}"}}
  away: {{url: "http://127.0.0.1:9", circuit_breaker: {{failures: 1000}}}}
runs: {{max_identical_calls: 4}}
runtime: {{env: {{AGENT_MAX_TOOL_CALLS: 6}}}}
"""


class Unix(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


def ask(home: Home, path: str, body: object, run: str) -> None:
    agent = Unix(home.environ["GATEWAY_LISTEN"].removeprefix("unix:"))
    agent.request("POST", path, json.dumps(body), {"Agent-Run-Id": run, "Content-Type": "application/json"})
    agent.getresponse().read()
    agent.close()


@pytest.fixture
def recorded(here: Home, tool: int) -> Home:
    """A gateway's log of runs that meet budgets, the loop guard, an upstream that is away, ends, and a stop."""
    home = here._replace(environ={**here.environ, "GATEWAY_LOG": "calls.log"})
    (home.folder / "policies" / "policy.yaml").write_text(policy(tool))
    with home.serving():
        for n in range(8):
            ask(home, "/tools/search.read", {"n": n}, "budget")
        for n in range(4):
            ask(home, "/tools/notes.write", {"n": n}, "per-tool")
        for _ in range(6):
            ask(home, "/tools/search.read", {}, "loop")
        for n in range(8):
            ask(home, "/tools/away.read", {"n": n}, "away")
        ask(home, "/tools/shell.run", {}, "away")
        ask(home, "/tools/search.read", {}, "finished")
        ask(home, "/_gateway/runs/finished/finish", {}, "finished")
        ask(home, "/tools/search.read", {}, "finished")
        home.run("kill", "tool:notes.*", "--reason", "drill")
        ask(home, "/tools/notes.write", {}, "stopped")
        home.run("restore", "tool:notes.*")
        ask(home, "/tools/notes.write", {}, "stopped")
    return home


def view(said: Said) -> dict[str, Any]:
    found = json.loads(said.out)
    assert isinstance(found, dict)
    return found


def test_the_policy_it_was_recorded_under_changes_nothing_and_others_what_they_say(recorded: Home) -> None:
    same = recorded.run("simulate", "policies", "calls.log", "--json", "--fail-on-change")
    assert (same.code, same.err) == (0, "")
    told = view(same)
    assert (told["calls"], told["now_denied"]["calls"], told["now_allowed"]["calls"], told["unknown"]["calls"]) == (
        31,
        0,
        0,
        0,
    )
    assert told["still_denied"] == {
        "max_tool_calls": 2,
        "max_calls": 2,
        "loop_detected": 2,
        "tool_not_allowed": 1,
        "run_finished": 1,
        "kill_switch": 1,
    }
    path = recorded.folder / "policies" / "policy.yaml"
    text = path.read_text()
    path.write_text(text.replace("AGENT_MAX_TOOL_CALLS: 6", "AGENT_MAX_TOOL_CALLS: 5"))
    fewer = recorded.run("simulate", "policies", "calls.log", "--fail-on-change")
    assert (fewer.code, fewer.err) == (1, "")
    assert "1 of 31 calls would now be denied, by runtime.env.AGENT_MAX_TOOL_CALLS, or the environment's\n" in fewer.out
    path.write_text(text.replace("max_calls: 2", "max_calls: 3").replace("search.read, ", ""))
    told = view(recorded.run("simulate", "policies", "calls.log", "--json"))
    assert [row["rule"] for row in told["now_denied"]["by_rule"]] == ["no entry of tools.allowlist"]
    assert told["now_allowed"]["by_reason"]["max_calls"]["calls"] == 1
    assert told["by_tool"]["notes.write"] == {"calls": 6, "now_denied": 0, "now_allowed": 1, "unknown": 0}


def test_several_logs_in_any_order_compressed_or_piped_are_one(recorded: Home) -> None:
    lines = (recorded.folder / "calls.log").read_bytes().splitlines(keepends=True)
    (recorded.folder / "calls.log.1.gz").write_bytes(gzip.compress(b"".join(lines[: len(lines) // 2])))
    (recorded.folder / "calls.log.0").write_bytes(b"".join(lines[len(lines) // 2 :]) + b'{"cut')
    told = view(recorded.run("simulate", "policies", "calls.log.0", "calls.log.1.gz", "--json"))
    assert (told["calls"], told["now_denied"]["calls"], told["now_allowed"]["calls"]) == (31, 0, 0)
    assert (told["lines"]["damaged"], len(told["lines"]["damage"])) == (1, 1)
    assert told["lines"]["damage"][0].startswith("calls.log.0:")
    piped = recorded.run("simulate", "policies", "-", "--json", stdin=b"".join(lines).decode())
    assert view(piped)["calls"] == 31


LINE = (
    '{"ts":"2026-11-22T10:00:00.000Z","event":"tool_call","call_id":"c1","run_id":null,"agent_id":"default","door":"tool_path","tool":"%s",'
    '"effect":"read","args_hash":"","decision":"allow","reason":"ok","duration_ms":1.0,"attempts":1,"errors":[],"cost_usd":0.0,"policy":"x"}\n'
)


def test_a_candidate_can_be_tried_on_yesterdays_calls_first(here: Home) -> None:
    (here.folder / "calls.log").write_text(LINE % "search.read")
    none = here.run("simulate", "policies", "calls.log", "--candidate")
    assert (none.code, none.err) == (2, "tool-gateway: policies has no candidate.yaml\n")
    (here.folder / "policies" / "candidate.yaml").write_text("tools: {allowlist: [other]}\n")
    said = here.run("simulate", "policies", "calls.log", "--candidate")
    assert "1 of 1 calls would now be denied, by no entry of tools.allowlist\n" in said.out


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (None, 2, "calls.log: no such file or directory"),
        ("not a log\n", 2, "calls.log: not a line of the gateway's log in it (calls.log:1: not JSON)"),
        ("", 0, ""),
    ],
)
def test_what_is_no_log_cannot_be_simulated(here: Home, content: str | None, code: int, said: str) -> None:
    if content is not None:
        (here.folder / "calls.log").write_text(content)
    found = here.run("simulate", "policies", "calls.log")
    assert (found.code, found.err) == (code, f"tool-gateway: {said}\n" if said else "")


def test_a_refused_policy_cannot_be_simulated(here: Home) -> None:
    (here.folder / "bad.yaml").write_text("mode: strict\n")
    (here.folder / "calls.log").write_text(LINE % "search.read")
    found = here.run("simulate", "bad.yaml", "calls.log")
    assert (found.code, found.out) == (2, "")
    assert (
        found.err == "tool-gateway: bad.yaml is refused, so it decides nothing: tool-gateway check bad.yaml tells why\n"
    )


def refused(tool: str, reason: str) -> str:
    return json.dumps({**json.loads(LINE % tool), "decision": "deny", "reason": reason, "attempts": 0}) + "\n"


def test_what_was_refused_for_the_moments_sake_is_refused_again(here: Home) -> None:
    (here.folder / "calls.log").write_text(LINE % "search.read" + refused("search.read", "overloaded"))
    said = here.run("simulate", "policies", "calls.log", "--fail-on-change")
    assert said.code == 0
    assert "\nrefused as recorded, whatever the policy: overloaded 1\n" in said.out
    told = view(here.run("simulate", "policies", "calls.log", "--json"))
    assert (told["denied_as_recorded"], told["now_allowed"]["calls"]) == ({"overloaded": 1}, 0)


def test_a_call_that_would_now_be_allowed_is_a_change_too(here: Home) -> None:
    (here.folder / "calls.log").write_text(refused("search.read", "tool_not_allowed"))
    said = here.run("simulate", "policies", "calls.log", "--fail-on-change")
    assert (said.code, "1 of 1 calls would now be allowed" in said.out) == (1, True)


def test_many_tools_are_told_in_twenty_rows_and_all_of_them_in_json(here: Home) -> None:
    (here.folder / "calls.log").write_text("".join(LINE % f"tool{n}" for n in range(30)))
    said = here.run("simulate", "policies", "calls.log")
    assert "  … and 10 more (--json has all)\n" in said.out
    assert len(view(here.run("simulate", "policies", "calls.log", "--json"))["by_tool"]) == 30


def test_no_name_in_a_log_reaches_the_terminal_as_a_command(here: Home) -> None:
    (here.folder / "calls.log").write_text(LINE % r"\u001b[31m\u009bevil")
    said = here.run("simulate", "policies", "calls.log")
    assert "\\u001b[31m\\u009bevil" in said.out
    assert said.out.replace("\n", "").isprintable()


def test_a_bar_is_for_terminals_alone(here: Home) -> None:
    (here.folder / "calls.log").write_text(LINE % "search.read")
    assert here.run("simulate", "policies", "calls.log").err == ""
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as terminal:  # noqa: PTH123  a descriptor
        subprocess.run(
            [sys.executable, "-m", "gateway", "simulate", "policies", "calls.log"],
            cwd=here.folder,
            env=dict(here.environ),
            stdout=subprocess.PIPE,
            stderr=theirs,
            check=True,
            timeout=60,
        )
        os.close(theirs)
        assert b"reading" in terminal.read(1000)


@pytest.mark.soak
def test_a_hundred_thousand_calls_are_simulated(here: Home, capfd: pytest.CaptureFixture[str]) -> None:
    """Prints how long it took: under 10 s is what is promised, on a machine that does nothing else."""
    line = json.loads(LINE % "search.read")
    with (here.folder / "calls.log").open("w") as log:
        for n in range(100_000):
            named = {"call_id": f"c{n}", "run_id": f"r{n // 15}", "args_hash": f"{n % 7:064x}"}
            moment = datetime.fromtimestamp(1_763_700_000 + n / 20, UTC).isoformat(timespec="milliseconds")
            log.write(json.dumps({**line, **named, "ts": moment}) + "\n")
    began = time.monotonic()
    told = view(here.run("simulate", "policies", "calls.log", "--json"))
    with capfd.disabled():
        print(f"\n100,000 calls simulated in {time.monotonic() - began:.1f} s")  # noqa: T201  a figure is what it is run for
    assert (told["calls"], told["now_denied"]["calls"]) == (100_000, 6_666 * 3)
