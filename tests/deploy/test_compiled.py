"""What keeps code from being compiled is told in one message. What compiling comes to is in test_image.py."""

import importlib
import os
import pkgutil
import shutil
import tomllib
from enum import Enum
from pathlib import Path

import pytest

import gateway
from scripts.compiled import NotCompiled, compiled

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """One with a module that compiles."""
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway/one.py").write_text("def one() -> int:\n    return 1\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def why_not(project: Path, *patterns: str) -> str:
    before = sorted(project.rglob("*"))
    made = project.parent / f"{project.name}-made"
    made.mkdir()
    with pytest.raises(NotCompiled) as caught:
        compiled(project, list(patterns), made)
    assert sorted(project.rglob("*")) == before
    assert Path.cwd() != project
    return str(caught.value)


def test_a_module_that_is_not_there(project: Path) -> None:
    assert why_not(project, "gateway/*.py", "gateway/two.py") == (
        "pyproject.toml: gateway/two.py is to be compiled, but there is no such file"
    )


def test_a_module_that_would_do_something_else_than_its_source(project: Path) -> None:
    """This default would be gone."""
    (project / "gateway/two.py").write_text("class Two:\n    size: int = len('two')\n")
    assert why_not(project, "gateway/*.py").splitlines() == [
        "mypyc cannot compile what pyproject.toml names:",
        "gateway/two.py:2: warning: Unsupported default attribute value",
    ]


def test_a_machine_without_a_compiler(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "CC", "no-such-compiler")
    assert why_not(project, "gateway/one.py").endswith(
        " (compiling needs gcc and the headers of libc and of this Python)"
    )


def test_no_class_that_runs_as_written_inherits_from_a_compiled_one() -> None:
    """Neither mypyc nor an import says so: its first instance would be a TypeError. (Protocols, tuples and enums may be inherited from.)"""
    targets = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    listed = {named.removesuffix(".py").replace("/", ".") for named in targets["wheel"]["hooks"]["custom"]["modules"]}
    listed = {name.removesuffix(".__init__") for name in listed}
    found = [importlib.import_module(each.name) for each in pkgutil.walk_packages(gateway.__path__, "gateway.")]
    classes = {each for module in found for each in vars(module).values() if isinstance(each, type)}
    assert listed < {module.__name__ for module in found}
    assert not [
        f"{each.__qualname__} of {each.__module__} inherits from {base.__qualname__}"
        for each in classes
        for base in each.__mro__
        if each.__module__.startswith("gateway.") and each.__module__ not in listed and base.__module__ in listed
        if not getattr(base, "_is_protocol", False) and not issubclass(base, tuple | Enum)
    ]
