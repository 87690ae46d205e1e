"""docs/architecture.md names the parts of the code: each of them is there, and none is left out."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
STOPS = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", PAGE)))
TABLE = PAGE[PAGE.index("| folder or file |") : PAGE.index("## Who may know whom")]


def defined(nodes: list[ast.stmt], names: list[str]) -> bool:
    """Is there a class or function of that name, and in it one of the next?"""
    found = [node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)]
    below = [node for node in found if node.name == names[0]]
    return bool(below) and (len(names) == 1 or defined(below[0].body, names[1:]))


@pytest.mark.parametrize(("file", "function"), STOPS)
def test_a_call_can_be_followed_stop_by_stop(file: str, function: str) -> None:
    assert defined(ast.parse((ROOT / "gateway" / file).read_text()).body, function.split("."))


def test_three_calls_are_followed() -> None:
    assert len(STOPS) > 20


def test_every_folder_and_file_of_the_gateway_stands_in_the_table() -> None:
    parts = [path for path in (ROOT / "gateway").iterdir() if path.is_dir() or path.suffix == ".py"]
    names = {path.name + "/" * path.is_dir() for path in parts if not path.name.startswith("__")}
    told = {name.removeprefix("gateway/") for name in re.findall(r"`([\w/]+(?:\.py|/))`", TABLE)}
    assert names - told == set()
