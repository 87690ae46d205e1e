"""A headless Chromium with one page at a time, moved the way a person does: by what the page calls its buttons and fields."""

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.mcp.node_tools import HERE, node

PROGRAM = "chromium-headless-shell"
PATIENCE = 30.0
"""Seconds; the page's own waits are shorter."""


class Page:
    """Every method waits until it is done, and fails with the browser's words where it cannot be."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    async def __call__(self, word: str, *given: object) -> Any:
        try:
            async with asyncio.timeout(PATIENCE):
                answer = await asyncio.to_thread(self._ask, word, *given)
        except TimeoutError:
            self._process.kill()  # or the thread would wait for ever
            raise
        assert "failed" not in answer, f"{word} {given}: {answer['failed']}"
        return answer["got"]

    def _ask(self, *words: object) -> Any:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps(words).encode() + b"\n")
        stdin.flush()
        return json.loads(stdout.readline() or b'{"failed": "the browser is gone"}')

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


@contextmanager
def browser() -> Iterator[Page]:
    """Skips where Node or the browser is missing."""
    environ = {**os.environ, "NODE_PATH": str(HERE / "node/node_modules")}
    command = [node(), str(Path(__file__).with_name("page.cjs")), shutil.which(PROGRAM) or ""]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as process:
        try:
            yield Page(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
