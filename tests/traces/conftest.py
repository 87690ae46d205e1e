"""Gateways in this process that send their spans to a collector of the test's."""

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from tests.doors.conftest import POLICY, Running, StartGateway, start, tool
from tests.traces.collector import Collector

__all__ = ["start", "tool"]


class StartTraced(Protocol):
    async def __call__(self, policy: str = POLICY, **variables: str) -> Running: ...


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as collector:
        yield collector


@pytest.fixture
def traced(collector: Collector, start: StartGateway, monkeypatch: pytest.MonkeyPatch) -> StartTraced:
    """Starts gateways with the collector as endpoint, whose spans are on their way within milliseconds."""

    async def start_traced(policy: str = POLICY, **variables: str) -> Running:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "5", **variables}
        for name, value in variables.items():
            if name.startswith("OTEL_"):
                monkeypatch.setenv(name, value)
        return await start(policy, **variables)

    return start_traced
