"""What `make run` does once the environment stands: a toy tool server and the gateway on policies/, until Ctrl-C.

Settings of the environment hold here too; with GATEWAY_UPSTREAM set, the gateway stands in front of that and no toy is started.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gateway.admin.token import DEFAULT_FILE
from gateway.settings import Address, Settings, SettingsError, read_settings

ROOT = Path(__file__).resolve().parent.parent
GATEWAY = (sys.executable, "-m", "gateway")
TOOLS = Address("127.0.0.1", 9000)
READY_WITHIN = 20
"""Seconds until a start that says nothing is given up."""
STOP_WITHIN = 10
"""Seconds after Ctrl-C: calls in flight have 5, the rest is margin."""

TRY = """
tool-gateway is ready. In another terminal:

  # an allowed call, a denied one, and what the run has left
  curl -i 'http://{data}/runs/try-1/tools/search.read?q=budgets'
  curl -i -X POST http://{data}/runs/try-1/tools/shell.run
  curl -s http://{data}/_gateway/runs/try-1

  # health
  curl -s http://{admin}/healthz

  # stop everything, then lift it
  curl -s -X POST http://{admin}/v1/kill-switches -H "Authorization: Bearer {bearer}" -d '{{"scope": "all", "reason": "trying it out"}}'
  curl -s -X DELETE http://{admin}/v1/kill-switches/all -H "Authorization: Bearer {bearer}"

Ctrl-C stops it. What follows is its log.
"""


def main() -> None:
    """Ends with status 0 after Ctrl-C, else with one line that says what is wrong."""
    try:
        settings = read_settings(os.environ)
    except SettingsError as error:
        sys.exit(str(error))
    refuse_taken_ports(settings)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    # Leaves what is there as it is; what is new is var/admin_token.
    if code := subprocess.run([*GATEWAY, "init"], check=False, stdout=subprocess.DEVNULL).returncode:
        sys.exit(code)
    with contextlib.ExitStack() as children:
        if not settings.upstream:
            os.environ["GATEWAY_UPSTREAM"] = f"http://{TOOLS}"
            children.enter_context(child("demo", signal.SIGTERM))
        gateway = children.enter_context(child("serve", signal.SIGINT))
        wait_until_ready(gateway, settings.admin_listen)
        print(TRY.format(data=settings.listen, admin=settings.admin_listen, bearer=bearer(settings)), flush=True)
        sys.exit(gateway.wait())


def refuse_taken_ports(settings: Settings) -> None:
    """Ends with one line rather than with two half-started servers."""
    wanted = [("GATEWAY_LISTEN", settings.listen), ("GATEWAY_ADMIN_LISTEN", settings.admin_listen)]
    for name, address in wanted:
        if taken(address):
            sys.exit(f"{address} is in use: end what listens there, or set {name} to another address")
    if not settings.upstream and taken(TOOLS):
        sys.exit(
            f"{TOOLS} is in use (the toy tools): end what listens there, or set GATEWAY_UPSTREAM to tools of your own"
        )


def taken(address: Address) -> bool:
    """Does something listen there already?"""
    if address.path is not None:
        return False
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError:
            return True
    return False


def bearer(settings: Settings) -> str:
    """What stands after "Bearer" in the lines to paste."""
    return "$GATEWAY_ADMIN_TOKEN" if settings.admin_token else f"$(cat {settings.admin_token_file or DEFAULT_FILE})"


@contextlib.contextmanager
def child(command: str, stop: signal.Signals) -> Iterator[subprocess.Popen[bytes]]:
    """A `tool-gateway` command, out of reach of the terminal's Ctrl-C so that the tools outlive the gateway's last calls."""
    process = subprocess.Popen([*GATEWAY, command], start_new_session=True)
    try:
        yield process
    finally:
        # A second Ctrl-C while waiting ends at once.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: process.kill())
        process.send_signal(stop)
        try:
            process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_until_ready(gateway: subprocess.Popen[bytes], admin: Address) -> None:
    """Returns when /readyz answers 200. A gateway that ends before has said why."""
    deadline = time.monotonic() + READY_WITHIN
    while time.monotonic() < deadline:
        if gateway.poll() is not None:
            sys.exit(gateway.returncode)
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection(admin.host, admin.port, timeout=1)
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.05)
    sys.exit(f"the gateway was not ready within {READY_WITHIN} s (http://{admin}/readyz)")


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
