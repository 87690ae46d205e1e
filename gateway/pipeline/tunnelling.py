"""A tunnel under its call: after the answer it is bounded by the run, kills and silence, not by the call's deadline."""

from collections.abc import Awaitable, Callable
from math import inf

from gateway.denial import Reason
from gateway.model import Moment, Tunnel, UpstreamError
from gateway.pipeline import failures
from gateway.pipeline.failures import Cut
from gateway.pipeline.limits import Limits, Timer
from gateway.pipeline.progress import Progress
from gateway.policy.snapshot import Plan
from gateway.state.inflight import Stopped, Wait

Check = Callable[[], Awaitable[bool]]
"""Waits for the caller's first bytes. False: it closed without any. Raises UpstreamError where they are not for the tunnel's target."""
Join = Callable[[], None]
"""Lets the bytes through."""
HALF_CLOSED = 30.0
"""Seconds of silence, behind the end of one side. That its caller has left altogether looks the same, until something is sent to it."""


async def carry(
    progress: Progress, plan: Plan, wait: Wait, tunnel: Tunnel, clock: Callable[[], Moment], check: Check, join: Join
) -> None:
    """Returns when caller and target have both closed it. Raises Cut where the gateway ends it.

    Its caller saw all that came through, so that no outcome is unknown.
    """
    progress.limits = Limits(inf, progress.limits.run)
    wait.tunnel, silence = tunnel, plan.stream_idle
    try:
        with wait.limit(progress.until()):
            if not await _may_pass(progress, plan, check):
                return
        join()
        await _heard_within(silence, tunnel.half_closed, progress, wait, tunnel, clock)
        silence = min(silence, HALF_CLOSED)
        await _heard_within(silence, tunnel.gone, progress, wait, tunnel, clock)
        return
    except TimeoutError:
        denial = failures.explain(failures.timed_out(progress.timer, plan, sent=False, silence=silence), plan)
    except UpstreamError as error:
        progress.errors.append(error.kind)
        denial = failures.explain(error, plan)
    except Stopped as stop:
        denial = stop.denial
    finally:
        progress.tunnelled, progress.bytes_out = tunnel.bytes_in, tunnel.bytes_out
    progress.fail(denial)
    raise Cut(denial)


async def _may_pass(progress: Progress, plan: Plan, check: Check) -> bool:
    """Report mode lets pass what is inside, too: the address it goes to was judged before."""
    try:
        return await check()
    except UpstreamError as error:
        if not plan.report or error.kind not in failures.NOT_ALLOWED:
            raise
        progress.errors.append(error.kind)
        progress.let_pass(Reason.EGRESS_NOT_ALLOWED)
        return True


async def _heard_within(
    silence: float,
    end: Callable[[], Awaitable[None]],
    progress: Progress,
    wait: Wait,
    tunnel: Tunnel,
    clock: Callable[[], Moment],
) -> None:
    """Waits for `end` as long as the tunnel is never silent for so many seconds. Raises TimeoutError.

    No timer is moved with each piece: when one fires, the tunnel says when it last heard something.
    """
    while True:
        try:
            with wait.limit(progress.until(tunnel.heard + silence)):
                await end()
            return
        except TimeoutError:
            if progress.timer is not Timer.ATTEMPT or tunnel.heard + silence <= clock().mono:
                raise
