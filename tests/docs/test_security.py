"""docs/security.md: every promise names the tests that show it, and they exist."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text("utf-8")
NAMED = re.compile(r"`(tests/[\w/.]+\.py)(?:::(\w+))?`")


def functions(file: Path) -> set[str]:
    return {
        found.name
        for found in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(found, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_promise_names_a_test() -> None:
    held, _, _ = PAGE.partition("## What it does not protect against")
    rows = [line for line in held.splitlines() if line.startswith("| ") and not line.startswith(("| promise", "|---"))]
    assert len(rows) > 30
    assert [row for row in rows if not NAMED.search(row)] == []


def test_every_named_test_exists() -> None:
    named = NAMED.findall(PAGE)
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).exists() or (test and test not in functions(ROOT / file))
    ]
    assert named
    assert missing == []
