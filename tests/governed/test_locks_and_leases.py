"""Locks and leases through the SDK: one does the work, the others are told so, also over expiry, restarts and slow clients."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from onceonly import OnceOnly, idempotent, idempotent_ai  # type: ignore[import-untyped]  # it ships no types
from onceonly.exceptions import ApiError, RateLimitError, ValidationError  # type: ignore[import-untyped]  # the same

from gateway.doors.governed import shelf
from gateway.doors.governed.leases import LATE, READABLE
from gateway.model import Moment
from tests.doors.conftest import Running
from tests.governed.sdk import KEY, Sdk


@pytest.fixture
def pass_time(running: Running) -> Callable[[float], None]:
    """The clock of locks and leases is so many seconds later from now on."""
    later, governed = 0.0, running.gateway.data_plane._governed
    parts: list[Any] = [governed._locks, governed._leases]
    usual = parts[0]._clock

    def clock() -> Moment:
        now: Moment = usual()
        return now._replace(wall=now.wall + later)

    def passes(seconds: float) -> None:
        nonlocal later
        later += seconds
        for part in parts:
            part._clock = clock

    return passes


async def test_the_first_to_ask_has_the_lock(running: Running, sdk: Sdk, pass_time: Callable[[float], None]) -> None:
    first = await sdk(lambda c: c.check_lock("order:7", ttl=60, meta={"tool": "x"}))
    assert (first.locked, first.duplicate, first.ttl, first.first_seen_at) == (True, False, 60, None)
    assert first.request_id
    second = await sdk(lambda c: c.check_lock("order:7", ttl=60))
    assert (second.locked, second.duplicate) == (False, True)
    assert second.first_seen_at.endswith("Z")
    assert (await sdk(lambda c: c.check_lock("order:8", ttl=60))).locked
    pass_time(61)
    assert (await sdk(lambda c: c.check_lock("order:7", ttl=60))).locked


async def test_of_many_who_ask_at_once_one_has_the_lock(running: Running) -> None:
    client = OnceOnly(api_key=KEY, base_url=running.gateway.data_url, timeout=30)
    found = await asyncio.gather(*(client.check_lock_async("k") for _ in range(50)))
    await client.aclose()
    assert sum(result.locked for result in found) == 1


async def test_an_idempotent_function_runs_once(sdk: Sdk) -> None:
    ran = []

    @idempotent(sdk.client, key_prefix="pay")  # type: ignore[untyped-decorator]  # the SDK ships no types
    def pay(order: int) -> str:
        ran.append(order)
        return "paid"

    for order in (1, 1, 2):
        await asyncio.to_thread(pay, order)
    assert ran == [1, 2]


async def test_a_function_under_a_lease_runs_once_and_all_have_its_result(running: Running) -> None:
    ran = []

    def work() -> dict[str, int]:
        ran.append(1)
        return {"answer": 42}

    def one() -> Any:
        with OnceOnly(api_key=KEY, base_url=running.gateway.data_url, timeout=30) as client:
            return client.ai.run_fn("job", work, ttl=60, wait_on_conflict=True)

    with ThreadPoolExecutor(5) as threads:
        loop = asyncio.get_running_loop()
        found = await asyncio.gather(*(loop.run_in_executor(threads, one) for _ in range(5)))
    assert ran == [1]
    assert [(result.status, result.result) for result in found] == [("completed", {"answer": 42})] * 5
    assert len({result.result_hash for result in found}) == 1


async def test_a_function_that_fails_is_told_as_failed(sdk: Sdk) -> None:
    @idempotent_ai(sdk.client, key_fn=lambda: "job", ttl=60)  # type: ignore[untyped-decorator]  # the SDK ships no types
    def work() -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await asyncio.to_thread(work)
    found = await sdk(lambda c: c.ai.result("job"))
    assert (found.status, found.result) == ("failed", None)
    assert found.error_code


async def test_an_asynchronous_function_is_done_though_the_sdk_is_cancelled(running: Running, sdk: Sdk) -> None:
    client = OnceOnly(api_key=KEY, base_url=running.gateway.data_url, timeout=30)

    async def work() -> dict[str, int]:
        return {"answer": 42}

    with pytest.raises(asyncio.CancelledError):  # of its own heartbeat, whatever a server says (onceonly-sdk 3.0.5)
        await client.ai.run_fn_async("job", work, ttl=60)
    await client.aclose()
    found = await sdk(lambda c: c.ai.result("job"))
    assert (found.status, found.result) == ("completed", {"answer": 42})
    assert found.done_at.endswith("Z")


async def test_a_lease_is_held_extended_and_ended_by_its_holder_alone(
    running: Running, sdk: Sdk, pass_time: Callable[[float], None]
) -> None:
    lease = await sdk(lambda c: c.ai.lease("job", ttl=60, metadata={"why": "x"}))
    assert (lease["status"], lease["ttl"], lease["version"]) == ("acquired", 60, 1)
    waiting = await sdk(lambda c: c.ai.lease("job", ttl=60))
    assert (waiting["status"], waiting.get("lease_id"), waiting["retry_after_sec"]) == ("polling", None, 1)
    status = await sdk(lambda c: c.ai.status("job"))
    assert (status.status, status.lease_id, 0 < status.ttl_left <= 60) == ("in_progress", None, True)
    for ask in (
        lambda c: c.ai.complete("job", "another", result={"answer": 1}),
        lambda c: c.ai.extend("job", "another"),
        lambda c: c.ai.fail("job", "another", error_code="x"),
        lambda c: c.ai.cancel("job", "another"),
    ):
        with pytest.raises(ApiError, match="does not hold"):
            await sdk(ask)
    pass_time(50)
    assert (await sdk(lambda c: c.ai.extend("job", lease["lease_id"], ttl=60)))["version"] == 2
    pass_time(50)
    assert (await sdk(lambda c: c.ai.lease("job")))["status"] == "polling"
    pass_time(11)
    other = await sdk(lambda c: c.ai.lease("job", ttl=60))
    assert (other["status"], other["version"], other["first_seen_at"]) == ("acquired", 3, lease["first_seen_at"])
    with pytest.raises(ApiError, match="does not hold"):
        await sdk(lambda c: c.ai.complete("job", lease["lease_id"], result={"late": True}))
    for _ in range(2):  # sent again
        assert (await sdk(lambda c: c.ai.complete("job", other["lease_id"], result={"ok": True})))[
            "status"
        ] == "completed"
    with pytest.raises(ApiError, match="ended otherwise"):
        await sdk(lambda c: c.ai.fail("job", other["lease_id"], error_code="x"))
    late = await sdk(lambda c: c.ai.extend("job", other["lease_id"]))
    assert (late["ok"], late["status"]) == (False, "completed")
    assert (await sdk(lambda c: c.ai.lease("job")))["status"] == "completed"
    assert (await sdk(lambda c: c.ai.wait("job"))).result == {"ok": True}
    pass_time(READABLE + 1)
    with pytest.raises(ApiError, match="Nobody holds"):
        await sdk(lambda c: c.ai.result("job"))
    assert (await sdk(lambda c: c.ai.lease("job")))["version"] == 1


async def test_a_holder_that_is_late_may_end_what_nobody_else_has_taken(
    running: Running, sdk: Sdk, pass_time: Callable[[float], None]
) -> None:
    lease = await sdk(lambda c: c.ai.lease("job", ttl=60))
    pass_time(LATE)
    assert (await sdk(lambda c: c.ai.status("job"))).ttl_left == 0
    assert (await sdk(lambda c: c.ai.complete("job", lease["lease_id"])))["status"] == "completed"


async def test_a_cancelled_lease_is_told_as_failed_to_those_who_wait(sdk: Sdk) -> None:
    lease = await sdk(lambda c: c.ai.lease("job"))
    await sdk(lambda c: c.ai.cancel("job", lease["lease_id"], reason="not needed"))
    found = await sdk(lambda c: c.ai.wait("job"))
    assert (found.status, found.error_code) == ("failed", "cancelled")


async def test_they_are_bounded_and_what_is_over_makes_room(
    running: Running, sdk: Sdk, pass_time: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "MOST_RECORDS", 3)
    for n in range(3):
        assert (await sdk(lambda c, n=n: c.check_lock(f"k{n}", ttl=60))).locked  # type: ignore[misc]  # of an untyped client
    with pytest.raises(RateLimitError):
        await sdk(lambda c: c.check_lock("k3", ttl=60))
    assert (await sdk(lambda c: c.check_lock("k0"))).duplicate
    pass_time(61)
    assert (await sdk(lambda c: c.check_lock("k3", ttl=60))).locked
    assert len(running.gateway.governance.locks._records) == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda c: c.check_lock("x" * 257),
        lambda c: c.check_lock(""),
        lambda c: c.check_lock("a\nb"),
        lambda c: c.check_lock("k", ttl=-1),
        lambda c: c.check_lock("k", ttl=10**9),
        lambda c: c.check_lock("k", meta={"x": "y" * 3000}),
        lambda c: c.ai.lease("k", ttl=86_401),
        lambda c: c.ai.status(""),
    ],
)
async def test_what_is_malformed_is_a_validation_error(sdk: Sdk, ask: Callable[[Any], Any]) -> None:
    with pytest.raises((ValidationError, ValueError)):
        await sdk(ask)
