"""The body of a reply on its way to the caller: each piece within the silence that is allowed, all within the call's time."""

from collections.abc import Awaitable, Callable
from math import inf

from gateway.model import Door, Moment, UpstreamError
from gateway.pipeline import failures
from gateway.pipeline.attempts import Attempts
from gateway.pipeline.failures import Cut
from gateway.pipeline.limits import Limits
from gateway.pipeline.progress import Progress
from gateway.policy.snapshot import Plan
from gateway.state.inflight import Stopped, Wait

Write = Callable[[bytes], Awaitable[None]]
End = Callable[[], Awaitable[None]]
"""Writes what says that the body is whole; it may have to wait for its reader, like every piece before."""
_TO_ONE_ANSWER = frozenset({Door.MCP, Door.GOVERNED})
"""Doors where an event stream is one way to answer, not a sign of endlessness."""


async def stream(
    attempts: Attempts,
    clock: Callable[[], Moment],
    progress: Progress,
    plan: Plan,
    wait: Wait,
    write: Write,
    end: End,
) -> None:
    """Through `write`, and `end` behind the last piece. Raises Cut."""
    reply = progress.reply
    if reply is None or reply.chunks is None:
        return
    endless = plan.stream or (reply.event_stream and progress.call.door not in _TO_ONE_ANSWER)
    silence = plan.stream_idle if endless else plan.timeout
    if endless:
        progress.limits = Limits(inf, progress.limits.run)
    by_upstream = False
    try:
        with wait.limit(progress.until(clock().mono + silence)):
            async for piece in reply.chunks:
                if progress.bytes_out + len(piece) > plan.max_response_bytes:
                    raise failures.response_too_large(plan)
                # While the agent reads, the upstream's silence does not count; where nothing else ends the call, the agent's does.
                wait.reschedule(progress.until(clock().mono + silence if endless else inf))
                await write(piece)
                progress.keep(piece)
                wait.reschedule(progress.until(inf if reply.asks else clock().mono + silence))
            wait.reschedule(progress.until(clock().mono + silence if endless else inf))
            attempts.body_ended(progress)
            await end()
        return
    except TimeoutError:
        late = failures.timed_out(progress.timer, plan, sent=True, silence=silence)
        attempts.body_ended(progress, late)
        denial = failures.explain(late, plan)
    except UpstreamError as error:
        progress.errors.append(error.kind)
        attempts.body_ended(progress, failures.as_value(error))
        denial, by_upstream = failures.explain(error, plan), True
    except Stopped as stop:
        denial = failures.stopped_after_dispatch(stop.denial, plan)
    progress.fail(denial)
    raise Cut(denial, by_upstream=by_upstream)
