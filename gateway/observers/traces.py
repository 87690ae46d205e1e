"""Each call as a span of OpenTelemetry, in the GenAI conventions' form `execute_tool`. Without arguments, results or sentences of theirs.

Needs the extra `otel`, and is imported only where somebody takes the spans (gateway/tracing.py). Spans are encoded and sent by the SDK's
own thread; what it cannot take is counted and gone.
"""

import logging
import time
from asyncio import sleep
from collections.abc import Callable, Sequence
from functools import lru_cache
from threading import Thread
from typing import NamedTuple, cast

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.model import Event, Record, ToolCall
from gateway.observers.lines import clean
from gateway.observers.metrics import ANSWERED
from gateway.observers.redaction.scrubber import Scrubber
from gateway.observers.sample import FINE
from gateway.observers.story import tries_of
from gateway.policy.snapshot import Redaction

OWN = "tool_gateway."
"""Before attributes of ours, which are named as in the log."""
ATTEMPT = "tool_gateway.attempt"
MOST_OPEN = 100_000
QUIET_SECONDS = 60.0
"""Lost spans are told once in so long."""
FULL, NOT_TAKEN = "queue_full", "not_taken"
_LONGEST_NAME = 128
_CONTEXT = TraceContextTextMapPropagator()


class Open(NamedTuple):
    """The span of a call that has not ended."""

    span: Span
    began: int
    """Unix nanoseconds."""


class Traces:
    """An Observer that ends the spans it has begun. `tell` is told of lost ones; at most `most_waiting` wait to be sent."""

    def __init__(self, tell: Callable[[Event], None], most_waiting: int) -> None:
        """Raises ValueError where a variable of the SDK (OTEL_…) has a value that it does not take."""
        self._tell = tell
        self._most_waiting = most_waiting
        self._open: dict[str, Open] = {}
        self._ended = self._full = self._told = 0
        self._told_at = -QUIET_SECONDS
        self._heard = _Heard()
        self._exporter = _Counted(OTLPSpanExporter())
        self._processor = BatchSpanProcessor(self._exporter, max_queue_size=most_waiting)
        provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("tool-gateway")
        scrub = Scrubber(Redaction()).scrub_name
        self._name = lru_cache(maxsize=4096)(lambda name: clean(scrub(name[:_LONGEST_NAME])))

    @property
    def dropped(self) -> dict[str, int]:
        """Spans that nobody will see, by why."""
        return {FULL: self._full, NOT_TAKEN: self._exporter.lost}

    def begin(self, call: ToolCall) -> ToolCall:
        """A span for it, below the caller's: what goes to the upstream names this one as its parent. Whatever goes wrong here, the call
        goes on as it came.
        """
        try:
            return self._begin(call)
        except Exception:  # noqa: BLE001  an observer has no power over a call
            self._full += 1
            return call

    def call_ended(self, record: Record) -> None:
        opened = self._open.pop(record.call_id, None)
        if opened is not None and opened.span.is_recording():
            if self._ended - self._exporter.taken >= self._most_waiting:
                self._full += 1
            else:
                self._end(opened, record)
        lost = self._full + self._exporter.lost
        if lost != self._told and record.at.mono - self._told_at >= QUIET_SECONDS:
            self._told, self._told_at = lost, record.at.mono
            problem = self._heard.problem
            self._tell(Event("spans_dropped", record.at, {"dropped": self.dropped, "problem": problem}))

    def happened(self, event: Event) -> None:
        """Of no concern here."""

    async def close(self, seconds: float) -> None:
        """Sends what waits, for so long at most. The thread that does cannot hold up the process's end."""
        thread = Thread(target=self._processor.shutdown, name="traces", daemon=True)
        thread.start()
        until = time.monotonic() + seconds
        while thread.is_alive() and time.monotonic() < until:  # noqa: ASYNC110  a thread's end sets no event of the loop
            await sleep(0.01)
        if thread.is_alive():
            self._exporter.shutdown()  # it tries no more

    def _begin(self, call: ToolCall) -> ToolCall:
        tool, began = self._name(call.tool), int(call.started.wall * 1e9)
        carried = {name.lower(): value for name, value in call.headers if name.lower() in _CONTEXT.fields}
        if call.traceparent is not None:
            carried["traceparent"] = call.traceparent
        attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": tool}
        span = self._tracer.start_span(
            f"execute_tool {tool}", _CONTEXT.extract(carried), SpanKind.INTERNAL, attributes, start_time=began
        )
        if len(self._open) >= MOST_OPEN:
            self._full += 1
        else:
            self._open[call.id] = Open(span, began)
        trace_id = f"{span.get_span_context().trace_id:032x}"
        headers = call.headers
        # To hosts that are no upstream goes nothing of ours: there it only takes the place of what the caller sent.
        if call.destination is None or any(name.lower() == "traceparent" for name, _ in headers):
            ours: dict[str, str] = {}
            _CONTEXT.inject(ours, set_span_in_context(span))
            kept = (header for header in headers if header[0].lower() not in _CONTEXT.fields)
            headers = (*kept, *ours.items())
        return call._replace(headers=headers, trace_id=trace_id)

    def _end(self, opened: Open, record: Record) -> None:
        span, began = opened
        span.set_attributes({key: value for key, value in self._attributes(record).items() if value is not None})
        tries = tries_of(
            record.tries, record.attempts, record.errors, answer_of(record), record.waited_ms, record.duration_ms
        )
        for one in cast("list[dict[str, float | str]]", tries):
            at = began + int(float(one["began_ms"]) * 1e6)
            span.add_event(ATTEMPT, {f"{ATTEMPT}.{key}": value for key, value in one.items()}, at)
        if record.reason not in FINE:
            span.set_attribute("error.type", record.reason.value)
            span.set_status(Status(StatusCode.ERROR, record.reason.value))
        self._ended += 1
        span.end(began + int(record.duration_ms * 1e6))

    def _attributes(self, record: Record) -> dict[str, str | int | float | None]:
        name = self._name
        own: dict[str, str | int | float | None] = {
            "agent_id": name(record.agent_id),
            "run_id": None if record.run_id is None else name(record.run_id),
            "door": record.door.value,
            "effect": None if record.effect is None else record.effect.value,
            "decision": record.decision.value,
            "reason": record.reason.value,
            "report_reason": None if record.report_reason is None else record.report_reason.value,
            "stop_reason": record.stop_reason,
            "status": record.status,
            "attempts": record.attempts,
            "waited_ms": round(record.waited_ms, 3),
            "bytes_in": record.bytes_in,
            "bytes_out": record.bytes_out,
            "cost_usd": record.cost_micro_usd / 1_000_000,
            "upstream": record.upstream,
            "policy": record.policy,
            "candidate": record.candidate,
        }
        return {"gen_ai.tool.call.id": record.call_id, **{OWN + key: value for key, value in own.items()}}


def answer_of(record: Record) -> str:
    """What came of the last attempt where it did not fail, in the words of tool_gateway_attempts_total."""
    answered = record.reason in ANSWERED and record.status is not None
    return f"{(record.status or 0) // 100}xx" if answered else "abandoned"


class _Counted(SpanExporter):
    """Counts what the exporter takes, in the thread that exports, and what the collector does not."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._shut = False
        self.taken = self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.taken += len(spans)
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        if not self._shut:
            self._shut = True
            self._exporter.shutdown()


class _Heard(logging.Handler):
    """The SDK's complaints: the last one is kept for the log. By itself it would print each, tracebacks included."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.problem: str | None = None
        sdk = logging.getLogger("opentelemetry")
        sdk.addHandler(self)
        sdk.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        self.problem = record.getMessage()[:500]


def _resource() -> Resource:
    """Who sends: as OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, else by our own name."""
    said = Resource.create()
    unnamed = str(said.attributes.get(SERVICE_NAME, "")).startswith("unknown_service")
    return said.merge(Resource({SERVICE_NAME: "tool-gateway"})) if unnamed else said
