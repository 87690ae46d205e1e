"""deploy/systemd: the unit is one that systemd takes, gives the gateway no more than it needs, and no less."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.settings import read_settings
from tests.deploy.stack import GatewayProcess

UNIT = Path(__file__).resolve().parents[2] / "deploy/systemd/tool-gateway.service"
MOST_EXPOSED = 1.5
"""Of 10, as systemd-analyze reckons: 1.2 for a service that speaks with the network."""
NO_EXECUTABLE_MEMORY = """
import ctypes, errno, os, sys
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(65, 1, 0, 0, 0) and ctypes.get_errno() != errno.EINVAL:  # PR_SET_MDWE, which kernels before 6.3 do not know
    sys.exit(os.strerror(ctypes.get_errno()))
os.execv(sys.argv[1], sys.argv[1:])
"""
"""What MemoryDenyWriteExecute comes to, for what is started so and all that it starts."""
RELOADED_AT_ONCE = """
import os, re, signal, sys
gateway = os.getpid()
if os.fork():
    os.execv(sys.argv[1], sys.argv[1:])
caught = 0
while not caught >> signal.SIGTERM - 1 & 1:  # what it handles first
    with open(f"/proc/{gateway}/status") as status:
        caught = int(re.search(r"SigCgt:\\t(\\w+)", status.read())[1], 16)
os.kill(gateway, signal.SIGHUP)
"""
"""Starts it, and sends what ExecReload does before it serves."""


def values(key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(), re.MULTILINE)


def seconds(key: str) -> float:
    return float(values(key)[0])


def test_the_gateway_takes_the_settings_it_is_given_and_time_to_drain() -> None:
    settings = read_settings(dict(shlex.split(line)[0].split("=", 1) for line in values("Environment")))

    assert settings.state.startswith(f"sqlite:/var/lib/{values('StateDirectory')[0]}/")
    assert settings.admin_token_file == "%d/" + values("LoadCredential")[0].partition(":")[0]
    assert settings.listen.host == settings.admin_listen.host == "127.0.0.1"
    assert seconds("TimeoutStopSec") > settings.drain_seconds
    assert seconds("LimitNOFILE") > 2 * settings.max_connections
    assert values("ExecStart")[0].split()[1:] == ["serve"]


@pytest.mark.needs("systemd-analyze")
def test_systemd_takes_it_and_finds_it_hardened(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(values("ExecStart")[0], "/bin/true"))  # which has to exist for this

    verified = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60)
    assert (verified.returncode, verified.stderr) == (0, "")
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--json=short", f"--threshold={MOST_EXPOSED * 10:.0f}", unit],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert judged.returncode == 0, [each for each in json.loads(judged.stdout) if not each["set"]]


def test_it_runs_without_memory_that_can_be_written_and_executed(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, before=[sys.executable, "-c", NO_EXECUTABLE_MEMORY]) as gateway:
        assert gateway.operate("GET", "/v1/status")[0] == 200


def test_a_reload_that_comes_during_the_start_does_not_end_it(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, before=[sys.executable, "-c", RELOADED_AT_ONCE]) as gateway:
        assert gateway.operate("GET", "/v1/status")[0] == 200
