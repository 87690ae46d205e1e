"""Compiles the modules that a call passes with mypyc: what the wheel's build hook does where it is switched on, and `make compiled`.

    HATCH_BUILD_HOOKS_ENABLE=1 pip wheel --no-deps .      a wheel for this machine's Python and processor
    python -m scripts.compiled FOLDER                     FOLDER/gateway, to be run from there

Which modules is written in pyproject.toml. Their sources stay beside them: a traceback shows lines, and without the compiled
files all of it works the same. Nothing is written to the checkout, where a compiled file would hide the next change of its source.
"""

import io
import os
import shutil
import sys
import tomllib
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIKE_THE_CHECKS = ["--config-file=pyproject.toml", "--no-warn-unused-ignores", "--follow-imports=silent"]
"""The types decide what the code becomes. Whether they are right everywhere, `make test` says, with every stub there is."""
HARMLESS = "Treating generator comprehension as list"
"""The one warning of mypyc's that is taken. Others say that the code would do something else than its source."""


class NotCompiled(Exception):
    """Why, in words for whoever builds."""


class Compiled(BuildHookInterface[Any]):
    """Puts the compiled files into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":  # runs the sources as they are
            return
        self.folder = TemporaryDirectory()
        try:
            found = compiled(Path(self.root), self.config["modules"], Path(self.folder.name))
        except NotCompiled as error:
            self.app.abort(str(error))
        build_data["force_include"] |= {f"{self.folder.name}/{name}": str(name) for name in found}
        build_data |= {"pure_python": False, "infer_tag": True}

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002  # hatchling's
        if version != "editable":
            self.folder.cleanup()


def compiled(root: Path, patterns: list[str], folder: Path) -> list[Path]:
    """The files made in `folder`, relative to it: a library of all modules, and beside each module what has Python find it there.

    Raises NotCompiled.
    """
    modules = [path for pattern in patterns for path in named(root, pattern)]
    with TemporaryDirectory() as made:
        before = Path.cwd()
        os.chdir(root)  # the paths are written into the code, for tracebacks
        try:
            build(modules, Path(made), folder)
        finally:
            os.chdir(before)
    return sorted(path.relative_to(folder) for path in folder.rglob("*.so"))


def named(root: Path, pattern: str) -> list[str]:
    """The modules that a line of the list names. Raises NotCompiled."""
    found = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
    if not found:
        raise NotCompiled(f"pyproject.toml: {pattern} is to be compiled, but there is no such file")
    return found


def build(modules: list[str], made: Path, folder: Path) -> None:
    """C goes to `made`, and what becomes of it to `folder`. Raises NotCompiled."""
    try:
        from setuptools import Distribution
        from setuptools.command.build_ext import build_ext
        from setuptools.errors import BaseError, CompileError, LinkError

        extensions = translated(modules, made)
    except ImportError as error:
        raise NotCompiled(f"compiling needs {error.name}: install what requirements-build.lock names") from None
    for extension in extensions:
        extension.extra_compile_args.append("-w")  # mypyc makes errors of warnings, which differ between compilers
    # Not by setup(), which would read pyproject.toml as if it were setuptools'.
    command = build_ext(Distribution({"ext_modules": extensions}))
    command.build_temp, command.build_lib = str(made), str(folder)
    try:
        command.ensure_finalized()
        command.run()
    except (BaseError, CompileError, LinkError) as error:
        raise NotCompiled(f"{error} (compiling needs gcc and the headers of libc and of this Python)") from None


def translated(modules: list[str], made: Path) -> list[Any]:
    """To C: setuptools' Extensions, which must have been imported before. Raises NotCompiled with all that mypyc has found.

    gcc takes a fifth longer at levels 2 and 3, and no step of a call takes less for it (bench.enforcement).
    """
    from mypyc.build import mypycify

    told = io.StringIO()
    options = [*LIKE_THE_CHECKS, "--cache-dir=/dev/null", *modules]
    try:
        with redirect_stdout(told):
            found = mypycify(options, opt_level="3", debug_level="0", target_dir=str(made), group_name="gateway")
    except SystemExit as stopped:
        if isinstance(stopped.code, str):
            told.write(stopped.code)
        found = []
    wrong = [line for line in told.getvalue().splitlines() if not line.endswith(HARMLESS)]
    if wrong or not found:
        raise NotCompiled("\n".join(["mypyc cannot compile what pyproject.toml names:", *wrong]))
    return found


def main(folder: Path) -> None:
    """The package with its compiled files, from scratch."""
    root = Path(__file__).resolve().parents[1]
    targets = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(root / "gateway", folder / "gateway", ignore=shutil.ignore_patterns("__pycache__"))
    try:
        compiled(root, targets["wheel"]["hooks"]["custom"]["modules"], folder.resolve())
    except NotCompiled as error:
        raise SystemExit(f"scripts.compiled: {error}") from None


if __name__ == "__main__":
    main(Path(sys.argv[1]))
