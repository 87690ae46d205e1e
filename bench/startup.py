"""From the start of the process to its first answered call, and its memory at rest. Goals: under 1 s, under 60 MB.

python -m bench.startup [--runs 9]
"""

import argparse
import http.client
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from statistics import median

from bench.subjects import PATH, gateway
from bench.wire import REPLY_BODY, REQUEST_BODY

AT_REST = 2.0
"""Seconds after the first call."""


class Tool(BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # http.server's name
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(REPLY_BODY)))
        self.end_headers()
        self.wfile.write(REPLY_BODY)

    def log_message(self, *_: object) -> None:
        pass


def answered(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("POST", PATH, REQUEST_BODY, {"Content-Type": "application/json"})
        return connection.getresponse().read() == REPLY_BODY
    except OSError:
        return False


def one_start(upstream: str) -> tuple[float, float, float]:
    """Seconds to the first answer, MB before it (just started), MB at rest after it."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        subject = gateway(upstream, Path(folder), None)
        try:
            while not answered(subject.port):
                time.sleep(0.005)
                if subject.process.poll() is not None:
                    raise SystemExit("the gateway ended at its start")
            took = time.perf_counter() - began
            first = subject.rss_mb()
            time.sleep(AT_REST)
            return took, first, subject.rss_mb()
        finally:
            subject.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=9)
    tool = HTTPServer(("127.0.0.1", 0), Tool)
    threading.Thread(target=tool.serve_forever, daemon=True).start()
    starts = [one_start(f"http://127.0.0.1:{tool.server_port}") for _ in range(parser.parse_args().runs)]
    seconds, first, rest = zip(*starts, strict=True)
    print(
        f"first answered call      {median(seconds):.2f} s after the process start ({min(seconds):.2f}..{max(seconds):.2f})"
    )
    print(
        f"memory (RSS) at rest     {median(rest):.1f} MB ({min(rest):.1f}..{max(rest):.1f}); just started {median(first):.1f} MB"
    )
