"""Fixtures of the command line's tests."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Home, home


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A short path: the system takes no more than 107 bytes for a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="tg") as folder:
        yield Path(folder)


@pytest.fixture
def here(tmp_path: Path, sockets: Path) -> Home:
    """A directory with a policy, and no gateway running."""
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text(
        "tools:\n  allowlist: [search.read]\n  definitions: {search.read: {effect: read}}\n"
        "upstreams: {default: {url: 'http://127.0.0.1:9'}}\n"
    )
    return home(tmp_path, sockets)


@pytest.fixture
def running(here: Home) -> Iterator[Home]:
    """The same with the gateway running."""
    with here.serving():
        yield here


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For commands in this process: no setting of whoever runs the tests, and no gateway in reach."""
    for name in os.environ:
        if name.startswith(("GATEWAY_", "AGENT_MAX_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_ADMIN_LISTEN", f"unix:{tmp_path}/none.sock"[:100])
    monkeypatch.chdir(tmp_path)
