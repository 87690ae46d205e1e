"""A headless Chromium with one page, moved the way a person does: by what the page calls its buttons and fields."""

import json
import os
import shutil
from asyncio import timeout
from asyncio.subprocess import PIPE, Process, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.mcp.node_tools import HERE, node

PROGRAM = "chromium-headless-shell"
PATIENCE = 30.0
"""Seconds; the page's own waits are shorter."""


class Page:
    """Every method waits until it is done, and fails with the browser's words where it cannot be."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def __call__(self, word: str, *given: object) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps([word, *given]).encode() + b"\n")
        async with timeout(PATIENCE):
            line = await stdout.readline()
        answer = json.loads(line or b'{"failed": "the browser is gone"}')
        assert "failed" not in answer, f"{word} {given}: {answer['failed']}"
        return answer["got"]

    async def click(self, name: str, within: str = "body", role: str = "button") -> None:
        await self("click", role, name, within)

    async def fill(self, name: str, text: str, within: str = "body") -> None:
        await self("fill", "textbox", name, text, within)

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self("press", key)

    async def see(self, css: str, text: str = "") -> None:
        """Waits until it is there, with the text somewhere in it."""
        await self("see", css, text)

    async def gone(self, css: str, text: str = "") -> None:
        await self("gone", css, text)

    async def text(self, css: str) -> str:
        return str(await self("text", css))


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """Skips where Node or the browser is missing."""
    environ = {**os.environ, "NODE_PATH": str(HERE / "node/node_modules")}
    script = str(Path(__file__).with_name("page.cjs"))
    process = await create_subprocess_exec(
        node(), script, shutil.which(PROGRAM) or "", stdin=PIPE, stdout=PIPE, env=environ, limit=1 << 20
    )
    try:
        yield Page(process)
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()
