"""What a start tells where it cannot be as it was asked for; one that fails leaves nothing that gets into the way of the exit."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gateway.app import serve
from gateway.settings import read_settings


def settings_of(folder: Path, **variables: str) -> dict[str, str]:
    (folder / "policy.yaml").write_text("tools: {allowlist: []}")
    return {
        "GATEWAY_POLICY": str(folder),
        "GATEWAY_STATE": "memory:",
        "GATEWAY_LOG": str(folder / "log"),
        "GATEWAY_LISTEN": "127.0.0.1:0",
        "GATEWAY_ADMIN_LISTEN": "127.0.0.1:0",
        **variables,
    }


async def test_the_logs_thread_does_not_outlive_a_start_that_failed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = read_settings(settings_of(tmp_path, GATEWAY_LISTEN=f"127.0.0.1:{port}"))
        assert await serve(settings) == 2
    assert capsys.readouterr().err == (
        f"tool-gateway: GATEWAY_LISTEN: cannot listen on 127.0.0.1:{port}: {os.strerror(98).lower()}\n"
    )
    assert [thread for thread in threading.enumerate() if thread.name == "log"] == []
    log = (tmp_path / "log").read_text()
    assert "policy_loaded" in log
    assert "gateway_st" not in log  # it neither started nor stopped


async def test_a_host_name_without_an_address_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read_settings(settings_of(tmp_path, GATEWAY_LISTEN="nowhere.invalid:0"))
    assert await serve(settings) == 2
    assert capsys.readouterr().err == (
        "tool-gateway: GATEWAY_LISTEN: cannot listen on nowhere.invalid:0: the host name has no address here\n"
    )


async def test_a_policy_that_is_not_there_is_told_by_its_variable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read_settings(settings_of(tmp_path, GATEWAY_POLICY=f"{tmp_path}/none"))
    assert await serve(settings) == 2
    assert capsys.readouterr().err == (
        f"tool-gateway: GATEWAY_POLICY: {tmp_path}/none does not exist;"
        " expected the path of a policy folder or of one policy file\n"
    )


WITH_FEW_FILES = """
import resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (456, 456))
sys.argv = ["tool-gateway", "serve"]
from gateway.cli import main
main()
"""


def test_too_low_a_descriptor_limit_lowers_the_bound_and_is_told(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WITH_FEW_FILES],
        env={"PATH": os.environ["PATH"], **settings_of(tmp_path, GATEWAY_LOG="-")},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        started = next(line for line in map(json.loads, process.stdout) if line["event"] == "gateway_started")
        process.send_signal(signal.SIGINT)
    assert started["max_connections"] == 100
    assert started["warnings"] == [
        (
            "GATEWAY_MAX_CONNECTIONS: lowered from 2000 to 100, since this process may open only 456 files;"
            " raise that limit (ulimit -n) to 4256"
        )
    ]
