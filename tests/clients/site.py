"""What the clients want to reach: one site, in the clear and encrypted, that keeps every request as it arrived."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.upstreams.loopback import LONGEST_TEST, Loopback, Request, loopback, never, read_body, reply

HOST = "localhost"
PAGE = b"a page of the site's"
HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection")
"""Each connection's own (RFC 9110, 7.6.1), as far as clients send them."""


@dataclass
class Site:
    """`pages` beside `/`; under `/slow` an answer that begins and does not end."""

    plain: Loopback
    encrypted: Loopback
    pages: dict[str, bytes] = field(default_factory=dict)

    @property
    def http(self) -> str:
        return f"http://{HOST}:{self.plain.port}"

    @property
    def https(self) -> str:
        return f"https://{HOST}:{self.encrypted.port}"

    @property
    def ports(self) -> list[int]:
        return [self.plain.port, self.encrypted.port]

    async def begun(self, answers: int = 1) -> None:
        """Waits until so many answers under `/slow` have begun."""
        async with asyncio.timeout(LONGEST_TEST):
            for _ in range(answers):
                await self._began.acquire()

    def __post_init__(self) -> None:
        self._began = asyncio.Semaphore(0)
        self.plain.answer = self.encrypted.answer = self._answer

    async def _answer(self, request: Request) -> None:
        if request.header("Expect"):
            await request.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.body = await read_body(request)
        path = request.line.split(" ")[1].partition("?")[0]
        if path == "/slow":
            await request.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nit begins")
            self._began.release()
            await never()
        page = PAGE if path == "/" else self.pages.get(path)
        body = b"" if request.line.startswith("HEAD ") else page or b""
        await request.say(
            reply(body, "Content-Type: text/html", status="200 OK" if page is not None else "404 Not Found")
        )


@asynccontextmanager
async def site(tls: ssl.SSLContext) -> AsyncIterator[Site]:
    """Served until the end, under a certificate for HOST."""

    async def no_answer_yet(request: Request) -> None:
        raise AssertionError("the site is not complete")

    async with (
        loopback(no_answer_yet, read_bodies=False) as plain,
        loopback(no_answer_yet, tls=tls, read_bodies=False) as encrypted,
    ):
        yield Site(plain, encrypted)


def told(request: Request) -> tuple[str, list[tuple[str, str]], bytes]:
    """All that a target learns from a request, whatever connections it came over. (Neither case nor order of names tells anything.)"""
    fields = sorted((name.lower(), value) for name, value in request.headers)
    return request.line, [field for field in fields if field[0] not in HOP_BY_HOP], request.body
