"""The tool behind every subject: nginx, which answers every request with the same reply."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from bench.competitors.nginx import SHARED
from bench.running import Running, answers, free_ports
from bench.subjects import Call, Command
from bench.wire import REPLY_BODY

CONFIGURATION = """%s
http {
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    default_type application/json;
    server {
        listen 127.0.0.1:%d;
        return 200 '%s';
    }
}
"""


@contextlib.contextmanager
def tool(core: int) -> Iterator[int]:
    """Its port. Ends the program where nginx or wrk, without which nothing can be measured, is not installed."""
    for program in ("nginx", "wrk", "taskset"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is not installed: the benchmark needs it (make competitors, or bench/apt.txt)")
    with tempfile.TemporaryDirectory() as name:
        folder, (port,) = Path(name), free_ports(1)
        configuration = folder / "nginx.conf"
        configuration.write_text(CONFIGURATION % (SHARED, port, REPLY_BODY.decode()))
        with Running(Command(["nginx", "-p", name, "-c", str(configuration)]), core, folder) as running:
            _wait(running, port)
            yield port


def _wait(running: Running, port: int) -> None:
    for _ in range(1000):
        with contextlib.suppress(OSError):
            if answers(port, Call()):
                return
        time.sleep(0.01)
    raise SystemExit(f"the tool does not answer: {running.output.read_text()[:500]}")
