"""docs/admin.md does what it says: each of its commands is run against a gateway."""

import asyncio
import json
import re
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest

from tests.admin.admin_plane import TOKEN, Operator

pytestmark = pytest.mark.needs("curl")

GUIDE = (Path(__file__).resolve().parents[2] / "docs/admin.md").read_text("utf-8")
COMMANDS = [
    command
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for command in re.split(r"(?<!\\)\n", block.strip())
]


async def test_the_guide_can_be_followed_line_by_line(operator: Operator, tmp_path: Path) -> None:
    async def pasted(command: str) -> Any:
        here = command.replace("http://127.0.0.1:8081", operator.gateway.admin_url)
        process = await asyncio.create_subprocess_shell(here, cwd=tmp_path, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate()
        assert (process.returncode, err) == (0, b""), command
        return json.loads(out)

    (tmp_path / "var").mkdir()
    (tmp_path / "var/admin_token").write_text(TOKEN)
    document, status, foreseen, kill, restore = COMMANDS
    assert (await pasted(document))["openapi"] == "3.1.0"
    assert (await pasted(status))["ready"] is True
    assert (await pasted(foreseen))["scope"] == "writes"
    assert (await pasted(kill))["kill_switch"]["reason"] == "wiki under attack"
    assert (await pasted(restore))["lifted"] == "writes"
    assert [event["who"] for event in operator.seen.of("operated")] == ["ada", "ada"]
