"""Fixtures of the admin plane's tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.admin.admin_plane import Operator, started


@pytest.fixture
async def operator(tmp_path: Path) -> AsyncIterator[Operator]:
    """Before a gateway of its own."""
    async with started(tmp_path) as operator:
        yield operator
