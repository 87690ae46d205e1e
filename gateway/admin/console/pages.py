"""Serves the console's files: a closed set, read once. They hold nothing of the gateway's, so they need no token."""

import asyncio
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import Response

from gateway.admin.routes import nothing_there

FOLDER = Path(__file__).with_name("static")
PREFIX = "/console/"
HOME = "index.html"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:;"
    " frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # kept, and asked for again: a new version is there with the next look
}


class Page(NamedTuple):
    """One file."""

    body: bytes
    type: str
    etag: str


def is_page(path: str) -> bool:
    """Does the path lead to the console's files?"""
    return path == "/" or path.startswith(PREFIX)


async def serve(request: BaseRequest, parts: Mapping[str, str]) -> Response:
    """`/` and everything below PREFIX."""
    pages = await asyncio.to_thread(load)
    page = pages.get(parts.get("name", HOME))
    if page is None:
        raise nothing_there()
    headers = {**_HEADERS, "ETag": page.etag}
    if page.etag in request.headers.get("If-None-Match", ""):
        return Response(status=304, headers=headers)
    return Response(body=page.body, headers={**headers, "Content-Type": page.type})


@cache
def load() -> Mapping[str, Page]:
    """Every file by its path below static/."""
    files = (path for path in sorted(FOLDER.rglob("*")) if path.suffix in _TYPES)
    return {path.relative_to(FOLDER).as_posix(): _page(path) for path in files}


def _page(path: Path) -> Page:
    body = path.read_bytes()
    return Page(body, _TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:20]}"')
