"""A collector as the gateway meets it: a real server that takes OTLP over HTTP, and keeps each span."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def plain(attributes: "list[KeyValue]") -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in attributes}


@dataclass
class Collector:
    """`answers` false: it takes requests and never answers them."""

    answers: bool = True
    spans: list[Span] = field(default_factory=list)
    resources: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""
    _came: asyncio.Event = field(default_factory=asyncio.Event)
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._gone.set()
        await self._runner.cleanup()

    async def one(self) -> Span:
        """The only span, once it is here."""
        (span,) = await self.seen(1)
        return span

    async def seen(self, count: int) -> list[Span]:
        """So many spans and no more, once they are here."""
        async with asyncio.timeout(10):
            while len(self.spans) < count:
                self._came.clear()
                await self._came.wait()
        assert len(self.spans) == count
        return self.spans

    async def asked(self) -> None:
        """Waits for the first request."""
        async with asyncio.timeout(10):
            while not self.bodies:
                self._came.clear()
                await self._came.wait()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(plain([*resource.resource.attributes]))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self._came.set()
        if not self.answers:
            await self._gone.wait()
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(), content_type="application/x-protobuf"
        )
