"""The gateway as its users run it, for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.stack import GatewayProcess


@pytest.fixture
def running_gateway(tmp_path: Path) -> Iterator[GatewayProcess]:
    """With a policy and settings that no test of it depends on."""
    with GatewayProcess(tmp_path / "gateway") as gateway:
        yield gateway
