import asyncio

import pytest

from gateway.model import Moment
from tests.doors.conftest import Running


@pytest.mark.sources
async def test_one_chore_that_fails_keeps_no_other_from_being_done(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(now: Moment, budgets_of: object) -> None:
        raise ZeroDivisionError("with a value of somebody's")

    monkeypatch.setattr(running.gateway.counts.ledger, "expire", fails)
    await running.kill("writes", for_seconds=0.01)
    async with asyncio.timeout(10):
        while [event.name for event in running.seen.events].count("internal_error") < 2:  # noqa: ASYNC110  twice: it goes on
            await asyncio.sleep(0.02)
    assert "expired" in [event.fields.get("action") for event in running.seen.events if event.name == "kill_switch"]
    told = next(event for event in running.seen.events if event.name == "internal_error")
    assert "ZeroDivisionError" in str(told.fields)
    assert "somebody" not in str(told.fields)
