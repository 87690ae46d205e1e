"""The pipeline while calls are traced: each gets a span before it is judged. It costs those nothing who do not trace."""

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from gateway.denial import Denial
from gateway.model import Moment, Observer, Outcome, ToolCall
from gateway.pipeline.attempts import Send
from gateway.pipeline.pipeline import Answer, Pipeline
from gateway.pipeline.shadow import Shadow
from gateway.policy.snapshot import Plan
from gateway.state.buffers import Buffers
from gateway.state.counts import Counts

R = TypeVar("R")


class Tracing(Protocol):
    """Whoever begins spans; as an observer it ends them."""

    def begin(self, call: ToolCall) -> ToolCall:
        """The call as it goes on, its span the parent of what the upstream does. Must not raise."""
        ...


class TracedPipeline(Pipeline):
    """Takes no calls from the fast lane, whose requests to upstreams are written before there is a span."""

    def __init__(
        self,
        tracing: Tracing,
        *,
        counts: Counts,
        buffers: Buffers,
        send: Send,
        observer: Observer,
        clock: Callable[[], Moment],
        dice: Callable[[], float],
    ) -> None:
        super().__init__(counts=counts, buffers=buffers, send=send, observer=observer, clock=clock, dice=dice)
        self._tracing = tracing

    def handle(
        self, call: ToolCall, plan: Plan, policy: str, answer: Answer[R], shadow: Shadow | None = None
    ) -> Coroutine[Any, Any, R]:
        # No coroutine of its own: that would hold on to the call's parsed arguments.
        return super().handle(self._tracing.begin(call), plan, policy, answer, shadow)

    def begin(self, call: ToolCall, plan: Plan, policy: str) -> None:
        """Nothing: `handle` takes it."""

    def refuse(
        self, call: ToolCall, plan: Plan | None, policy: str, denial: Denial, shadow: Shadow | None = None
    ) -> Outcome:
        return super().refuse(self._tracing.begin(call), plan, policy, denial, shadow)
