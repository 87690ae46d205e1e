"""`tail` against gateways that run, fall silent, end and come back."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from queue import Queue
from typing import IO

from tests.cli.command import Home


class Tail:
    """A `tail` that runs meanwhile."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def note(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()


@contextmanager
def tailing(home: Home, *arguments: str, stdout: int | IO[str] = subprocess.PIPE, **environ: str) -> Iterator[Tail]:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "tail", *arguments],
        cwd=home.folder,
        env={**home.environ, **environ},
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Tail(process)
    finally:
        process.kill()
        process.communicate()


def test_calls_come_as_they_end_after_those_before_until_ctrl_c(running: Home) -> None:
    running.call("first.tool")
    with tailing(running) as tail:
        assert "  tool_not_allowed      first.tool " in tail.line()
        assert tail.line().startswith("    This agent may not use the tool first.tool")
        running.call("search.read")
        line = tail.line()
        assert "  upstream_failed       search.read " in line
        assert "\x1b" not in line
        tail.process.send_signal(signal.SIGINT)
        _, err = tail.process.communicate(timeout=30)
        assert (tail.process.returncode, err) == (0, "")


def test_json_is_a_call_a_line_and_filters_leave_others_out(running: Home) -> None:
    for tool in ("other.tool", "search.read"):
        running.call(tool)
    with tailing(running, "--json", "--tool", "search.*", "--reason", "!ok") as tail:
        call = json.loads(tail.line())
        assert (call["tool"], call["reason"]) == ("search.read", "upstream_failed")
        running.call("other.tool")
        running.call("search.more")
        assert json.loads(tail.line())["tool"] == "search.more"


def test_a_gateway_that_restarts_is_waited_for_and_what_may_be_missing_is_said(here: Home) -> None:
    with here.serving():
        here.call("one.tool")
        tail = tailing(here, "--json")
        listening = tail.__enter__()
        assert json.loads(listening.line())["tool"] == "one.tool"
        here.call("two.tool")
        assert json.loads(listening.line())["tool"] == "two.tool"
    assert listening.note() == "-- the gateway does not answer: waiting for it\n"
    with here.serving():
        assert listening.note() == "-- the gateway is back\n"
        assert listening.note() == (
            "-- calls may be missing here: the gateway was restarted, or more ended meanwhile than it keeps\n"
        )
        here.call("three.tool")
        assert json.loads(listening.line())["tool"] == "three.tool"
        tail.__exit__(None, None, None)


def test_after_a_stream_that_breaks_off_it_goes_on_behind_the_last_call_it_told(here: Home) -> None:
    behind: Queue[str | None] = Queue()

    class Breaking(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            behind.put(self.headers["Last-Event-ID"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f'id: c{behind.qsize()}\nevent: call\ndata: {{"reason": "ok"}}\n\n'.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
            """Not to stderr."""

    with HTTPServer(("127.0.0.1", 0), Breaking) as server:
        where, server.timeout = f"127.0.0.1:{server.server_port}", 30
        with tailing(here, "--json", "--lines", "0", GATEWAY_ADMIN_LISTEN=where):
            server.handle_request()
            server.handle_request()
    assert [behind.get(), behind.get()] == [None, "c1"]


def test_whoever_reads_no_more_ends_it_quietly(running: Home) -> None:
    running.call("one.tool")
    with tailing(running) as tail:
        tail.line()
        assert tail.process.stdout is not None
        tail.process.stdout.close()
        while tail.process.poll() is None:
            running.call("one.tool")
        assert (tail.process.returncode, tail.process.stderr and tail.process.stderr.read()) == (0, "")


def test_colours_are_for_terminals_that_want_them(running: Home) -> None:
    running.call("one.tool")
    for environ, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        ours, theirs = pty.openpty()
        with open(ours, "rb", buffering=0) as terminal, tailing(running, stdout=theirs, **environ) as tail:  # noqa: PTH123  a descriptor
            os.close(theirs)
            assert ("\x1b[31mtool_not_allowed" in terminal.read(300).decode()) is coloured
            assert tail.process.poll() is None


def test_without_a_gateway_or_with_a_filter_that_cannot_fit_it_says_so(here: Home) -> None:
    said = here.run("tail")
    assert (said.code, said.out) == (2, "")
    assert "admin plane not reachable" in said.err
    with here.serving():
        said = here.run("tail", "--reason", "kill_swich", "-n", "0")
        assert (said.code, said.out) == (2, "")
        assert said.err == "tool-gateway: reason: there is no such reason; did you mean kill_switch?\n"
