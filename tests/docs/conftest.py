"""What several pages are followed in."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.terminal import Terminal


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    """An empty folder."""
    (tmp_path / "empty").mkdir()
    terminal = Terminal(tmp_path / "empty")
    try:
        yield terminal
    finally:
        terminal.close()
