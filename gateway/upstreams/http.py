"""The upstreams of the policy: one HttpUpstream, with its pool and TLS files, for each UpstreamPlan, kept over reloads by its key."""

import asyncio
import ssl
import sys
from collections.abc import Iterable

from gateway.model import Attempt, Reply, UpstreamError
from gateway.policy.snapshot import Snapshot, UpstreamPlan
from gateway.upstreams import mcp
from gateway.upstreams.connection import Connection
from gateway.upstreams.dial import connect, look_up, tls_context
from gateway.upstreams.exchange import exchange
from gateway.upstreams.heads import RequestHeads, framing
from gateway.upstreams.known import KnownHeads
from gateway.upstreams.listeners import NO_LISTENERS, Listeners
from gateway.upstreams.pool import Pool
from gateway.upstreams.quick import QuickExchange
from gateway.upstreams.resolver import Resolver

UNLIMITED = sys.maxsize


class HttpUpstream:
    """Makes attempts at one upstream over HTTP/1.1. Must be created while the event loop runs."""

    def __init__(self, plan: UpstreamPlan, resolver: Resolver, listeners: Listeners = NO_LISTENERS) -> None:
        self.plan = plan
        self._resolver = resolver
        self._listeners = listeners
        self._label = f"upstream {plan.name}"
        self._heads = RequestHeads(plan.origin.partition("://")[2], plan.base_path, plan.headers)
        self._known = KnownHeads()
        self._tls: ssl.SSLContext | None = None
        self._tls_loaded = 0.0
        self.pool = self._pool(plan.max_connections)
        self.apart = self._pool(UNLIMITED)
        """For messages that are no calls: streams that stay open must not take the places of calls, nor wait for one."""

    async def send(self, attempt: Attempt) -> Reply:
        """One attempt, never repeated. Returns when the reply's head is there; sets `attempt.sent` before the first byte goes out.

        Raises UpstreamError, or what a streamed body raises. Cancelling it closes the connection. Timeouts are the caller's;
        only opening a connection has its own (`plan.connect_timeout`).
        """
        connection = await self.pool.take()
        reply = await exchange(connection, self._heads, attempt, self.pool.give)
        return reply if self.plan.mcp is None else await mcp.checked(reply, self._label, read_ahead=True)

    async def send_apart(self, attempt: Attempt) -> Reply:
        """The same for a message to an MCP server that is no call: it never waits for a connection."""
        connection = await self.apart.take()
        reply = await exchange(connection, self._heads, attempt, self.apart.give)
        return await mcp.checked(reply, self._label, read_ahead=False)

    def opening(self, method: str, target: str, headers: Iterable[tuple[str, str]], size: int) -> bytes:
        """What the heads of a call's attempts begin with; each may end with headers of its own. Raises ValueError, as RequestHeads does."""
        return self._heads.head(method, target, headers, framing(method, size)).removesuffix(b"\r\n")

    def quick(self, *, asked: bool) -> QuickExchange | None:
        """An exchange that can be begun at once, where a connection is idle: to be sent or given back before anything is awaited. `asked`:
        the kernel is, whether it is; what may not be repeated must not find out by being sent.
        """
        connection = self.pool.take_idle(asked=asked)
        return None if connection is None else QuickExchange(connection, self.pool, self._known)

    async def probe(self) -> UpstreamError | None:
        """Resolves, connects and handshakes, apart from the pool. The problem, or None."""
        try:
            connection = await self._connect()
        except UpstreamError as error:
            return UpstreamError(error.kind, f"{error.detail} ({self.plan.origin})", sent=False)
        connection.abort()
        return None

    def _pool(self, size: int) -> Pool:
        plan = self.plan
        return Pool(self._connect, size=size, keepalive=plan.keepalive, max_age=plan.max_connection_age)

    async def _connect(self) -> Connection:
        """The look-up, TCP and TLS share the plan's connect timeout."""
        plan, loop = self.plan, asyncio.get_running_loop()
        deadline = loop.time() + plan.connect_timeout
        addresses = await look_up(self._resolver, plan.host, self._label, deadline)
        if any(self._listeners.own(address, plan.port) for address in addresses):
            raise UpstreamError("refused", f"{self._label} is the gateway itself; correct its url", sent=False)
        tls = await self._tls_context() if plan.scheme == "https" else None
        return await connect(
            addresses,
            plan.port,
            label=self._label,
            deadline=deadline,
            tls=tls,
            server_name=plan.host,
        )

    async def _tls_context(self) -> ssl.SSLContext:
        """Read again when as old as a connection may get, so that renewed certificates come into use without a reload."""
        loop = asyncio.get_running_loop()
        if self._tls is None or loop.time() - self._tls_loaded >= self.plan.max_connection_age:
            self._tls = await loop.run_in_executor(None, tls_context, self.plan.tls, self._label)
            self._tls_loaded = loop.time()
        return self._tls


class Upstreams:
    """Every upstream in use. Plans of an older snapshot keep working: calls in flight finish under the rules they began with."""

    def __init__(self, resolver: Resolver, listeners: Listeners = NO_LISTENERS) -> None:
        self._resolver = resolver
        self._listeners = listeners
        self._by_key: dict[str, HttpUpstream] = {}

    def of(self, plan: UpstreamPlan) -> HttpUpstream:
        upstream = self._by_key.get(plan.key)
        if upstream is None:
            upstream = self._by_key[plan.key] = HttpUpstream(plan, self._resolver, self._listeners)
        return upstream

    def adopt(self, *snapshots: Snapshot) -> None:
        """After a reload: pools are kept by their plan's key; those that none of these names close once idle."""
        named = {plan.key for snapshot in snapshots for plan in snapshot.upstreams.values()}
        for key in [key for key in self._by_key if key not in named]:
            upstream = self._by_key.pop(key)
            upstream.pool.retire()
            upstream.apart.retire()

    def status(self) -> list[dict[str, object]]:
        """For the admin plane: connections by upstream."""
        return [
            {
                "upstream": upstream.plan.name,
                "url": upstream.plan.origin + upstream.plan.base_path,
                "connections": upstream.pool.opened,
                "idle": upstream.pool.idle,
                "waiting": upstream.pool.waiting,
                **({"apart": upstream.apart.opened} if upstream.plan.mcp else {}),
                "max_connections": upstream.plan.max_connections,
            }
            for upstream in self._by_key.values()
        ]

    async def probe(self, plan: UpstreamPlan) -> UpstreamError | None:
        return await self.of(plan).probe()

    async def close(self) -> None:
        """Cuts every connection, exchanges in flight too, and waits until the sockets are gone."""
        upstreams, self._by_key = list(self._by_key.values()), {}
        pools = [pool for upstream in upstreams for pool in (upstream.pool, upstream.apart)]
        for pool in pools:
            pool.abort()
        await asyncio.gather(*(pool.gone() for pool in pools))
