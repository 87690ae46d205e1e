"""What the gateway is measured against: the shortest honest aiohttp reverse proxy. It checks, counts, limits and logs nothing.

python -m bench.bare_proxy PORT UPSTREAM [asyncio|uvloop]
"""

import sys

import aiohttp
import uvloop
from aiohttp import web

HOP_BY_HOP = {"host", "connection", "keep-alive", "content-length", "transfer-encoding", "te", "trailer", "upgrade"}


def make_app(upstream: str) -> web.Application:
    async def forward(request: web.Request) -> web.Response:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP]
        body = await request.read()
        async with app["session"].request(
            request.method, upstream + request.path_qs, headers=headers, data=body, allow_redirects=False
        ) as reply:
            kept = [(name, value) for name, value in reply.headers.items() if name.lower() not in HOP_BY_HOP]
            return web.Response(status=reply.status, headers=dict(kept), body=await reply.read())

    async def session(app: web.Application):  # type: ignore[no-untyped-def]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False) as client:
            app["session"] = client
            yield

    app = web.Application()
    app.cleanup_ctx.append(session)
    app.router.add_route("*", "/{path:.*}", forward)
    return app


if __name__ == "__main__":
    port, upstream, loop = sys.argv[1:]
    web.run_app(
        make_app(upstream),
        host="127.0.0.1",
        port=int(port),
        access_log=None,
        print=None,
        loop=uvloop.new_event_loop() if loop == "uvloop" else None,
    )
