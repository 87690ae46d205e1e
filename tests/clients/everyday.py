"""The clients, each used as its own manual says. One exchange: whatever comes back with a status is Got, all else Failed."""

import asyncio
import json
import os
import ssl
from asyncio.subprocess import PIPE
from collections.abc import Awaitable, Callable
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, build_opener

import aiohttp
import httpx
import requests

from tests.mcp.node_tools import HERE, node

NODE = HERE / "node"
PATIENCE = 30.0
"""Seconds after which a test fails instead of hanging."""


class Got(NamedTuple):
    """An answer, whole."""

    status: int
    body: bytes


class Failed(Exception):
    """What the client's user is told."""


class Asked(NamedTuple):
    """`proxy` is for those that are told by an option; None: go straight there."""

    url: str
    method: str = "GET"
    body: bytes = b""
    proxy: str | None = None


class Client(NamedTuple):
    """A way to use one."""

    exchange: Callable[[Asked], Awaitable[Got]]
    says: str = "403 Forbidden ({reason})"
    """Among other things, of a tunnel that it was refused."""
    by_option: bool = False
    """It is told of the proxy by an option; the others by the environment."""
    only_tunnels: bool = False
    """It asks for a tunnel to http:// URLs, too."""


async def command(*words: str, **environment: str) -> tuple[int, bytes, str]:
    """Runs a program to its end: exit code, output, complaints."""
    process = await asyncio.create_subprocess_exec(*words, stdout=PIPE, stderr=PIPE, env=os.environ | environment)
    try:
        async with asyncio.timeout(PATIENCE):
            out, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out, complaints.decode()


async def by_curl(asked: Asked, *options: str) -> Got:
    data = ["--data-binary", asked.body.decode()] if asked.body else []
    words = ["curl", "--silent", "--show-error", "--write-out", "\n%{http_code}", *options, "--request", asked.method]
    code, out, complaint = await command(*words, *data, asked.url)
    if code:
        raise Failed(complaint)
    body, _, status = out.rpartition(b"\n")
    return Got(int(status), body)


async def by_curl_options(asked: Asked) -> Got:
    if asked.proxy is None:
        return await by_curl(asked)
    user, _, address = asked.proxy.removeprefix("http://").partition("@")
    return await by_curl(asked, "--proxy", f"http://{address}", "--proxy-user", user)


async def by_wget(asked: Asked) -> Got:
    data = [f"--body-data={asked.body.decode()}"] if asked.body else []
    words = ["wget", "--no-verbose", "--server-response", "--content-on-error", "--tries=1", "--output-document=-"]
    code, out, complaint = await command(*words, f"--method={asked.method}", *data, asked.url)
    lines = [line.split() for line in complaint.splitlines() if line.lstrip().startswith("HTTP/")]
    if code not in (0, 8) or not lines:  # 8: an answer that says error
        raise Failed(complaint)
    return Got(int(lines[-1][1]), out)


async def by_urllib(asked: Asked) -> Got:
    def exchange() -> Got:
        request = Request(asked.url, asked.body or None, method=asked.method)
        try:
            with build_opener().open(request, timeout=PATIENCE) as answer:  # urlopen reads the environment only once
                return Got(answer.status, answer.read())
        except HTTPError as error:
            with error:
                return Got(error.code, error.read())

    return await _in_thread(exchange)


async def by_requests(asked: Asked) -> Got:
    def exchange() -> Got:
        proxies = None if asked.proxy is None else {"http": asked.proxy, "https": asked.proxy}
        answer = requests.request(asked.method, asked.url, data=asked.body or None, proxies=proxies, timeout=PATIENCE)
        return Got(answer.status_code, answer.content)

    return await _in_thread(exchange)


async def by_httpx(asked: Asked) -> Got:
    def exchange() -> Got:
        with httpx.Client(proxy=asked.proxy, verify=trusted(), timeout=PATIENCE) as client:
            answer = client.request(asked.method, asked.url, content=asked.body or None)
            return Got(answer.status_code, answer.content)

    return await _in_thread(exchange)


async def by_httpx_async(asked: Asked) -> Got:
    async with httpx.AsyncClient(proxy=asked.proxy, verify=trusted(), timeout=PATIENCE) as client:
        try:
            answer = await client.request(asked.method, asked.url, content=asked.body or None)
        except httpx.HTTPError as error:
            raise Failed(f"{type(error).__name__}: {error}") from None
        return Got(answer.status_code, answer.content)


async def by_aiohttp(asked: Asked) -> Got:
    session = aiohttp.ClientSession(trust_env=asked.proxy is None, timeout=aiohttp.ClientTimeout(PATIENCE))
    async with session:
        try:
            request = session.request(
                asked.method, asked.url, data=asked.body or None, proxy=asked.proxy, ssl=trusted()
            )
            async with request as answer:
                return Got(answer.status, await answer.read())
        except aiohttp.ClientError as error:
            raise Failed(f"{type(error).__name__}: {error}") from None


def by_node(how: str) -> Callable[[Asked], Awaitable[Got]]:
    async def exchange(asked: Asked) -> Got:
        words = [how, asked.url, asked.method, asked.body.decode(), asked.proxy or ""]
        own = {"NODE_USE_ENV_PROXY": "1"} if how == "environment" else {"NODE_PATH": str(NODE / "node_modules")}
        code, out, complaint = await command(node(), str(Path(__file__).with_name("fetch.cjs")), *words, **own)
        assert code == 0, complaint
        answer = json.loads(out)
        if "error" in answer:
            raise Failed(answer["error"])
        return Got(answer["status"], answer["body"].encode())

    return exchange


def trusted() -> ssl.SSLContext:
    """For libraries that read SSL_CERT_FILE when they are imported, or not at all."""
    return ssl.create_default_context()


async def _in_thread(exchange: Callable[[], Got]) -> Got:
    try:
        async with asyncio.timeout(2 * PATIENCE):
            return await asyncio.to_thread(exchange)
    except (OSError, HTTPException, httpx.HTTPError) as error:  # requests' errors, and most of urllib's, are OSErrors
        raise Failed(f"{type(error).__name__}: {error}") from None


CLIENTS = {
    "curl": Client(by_curl, says="403"),
    "curl --proxy-user": Client(by_curl_options, says="403", by_option=True),
    "wget": Client(by_wget, says="Forbidden ({reason})"),
    "urllib": Client(by_urllib),
    "requests": Client(by_requests),
    "requests proxies": Client(by_requests, by_option=True),
    "httpx": Client(by_httpx),
    "httpx proxy": Client(by_httpx, by_option=True),
    "httpx async": Client(by_httpx_async),
    "aiohttp trust_env": Client(by_aiohttp, says="403, message='Forbidden ({reason})'"),
    "aiohttp proxy": Client(by_aiohttp, says="403, message='Forbidden ({reason})'", by_option=True),
    "Node": Client(by_node("environment"), says="403", only_tunnels=True),
    "undici EnvHttpProxyAgent": Client(by_node("EnvHttpProxyAgent"), says="403"),
    "undici ProxyAgent": Client(by_node("ProxyAgent"), says="403", by_option=True),
}
