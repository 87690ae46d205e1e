"""The namespace and the gateways in it are made once for all tests here: they take a second each."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.egress.inside import Inside, gateway
from tests.egress.world import Namespace, World, namespace, world


@pytest.fixture(scope="session")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Namespace]:
    with namespace(tmp_path_factory.mktemp("etc")) as made:
        yield made


@pytest.fixture
async def there(inside: Namespace) -> AsyncIterator[World]:
    async with world(inside) as made:
        yield made


@pytest.fixture(scope="session")
def listed(inside: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A gateway that lets out to a few names, to some forbidden addresses by name, and to one address that is opened."""
    hosts = ["allowed.example", "*.wild.example", "*.private.example", "*.turning.example"]
    literals = ["10.0.0.7", "127.0.0.1", "169.254.169.254", "192.0.2.80", "::1", "fd00:ec2::254", "64:ff9b::a00:7"]
    egress = {"allow_hosts": hosts + literals, "ports": [80, 443], "allow_private": ["192.0.2.80/32"]}
    with gateway(inside, tmp_path_factory.mktemp("listed"), egress) as made:
        yield made


@pytest.fixture(scope="session")
def anywhere(inside: Namespace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A gateway that lets out to every public host."""
    egress = {"allow_hosts": ["*"], "ports": [80, 443, 6379, 11211]}
    with gateway(inside, tmp_path_factory.mktemp("anywhere"), egress) as made:
        yield made
