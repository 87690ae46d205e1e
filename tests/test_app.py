"""A start that fails, in this process: nothing of it is left that could get into the way of the exit."""

import os
import socket
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
    assert '"policy_loaded"' in (tmp_path / "log").read_text()


async def test_a_host_name_without_an_address_is_told_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = read_settings(settings_of(tmp_path, GATEWAY_LISTEN="nowhere.invalid:0"))
    assert await serve(settings) == 2
    assert capsys.readouterr().err == (
        "tool-gateway: GATEWAY_LISTEN: cannot listen on nowhere.invalid:0: the host name has no address here\n"
    )
