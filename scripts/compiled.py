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
    """C goes to `made`, and what becomes of it to `folder`."""
    try:
        # Before mypyc, which asks whether setuptools is there already.
        from setuptools import Distribution
        from setuptools.command.build_ext import build_ext
        from setuptools.errors import BaseError, CompileError, LinkError

        from mypyc.build import mypycify  # isort: skip
    except ImportError as error:
        raise NotCompiled(f"compiling needs {error.name}: install what requirements-build.lock names") from None
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            options = [*LIKE_THE_CHECKS, "--cache-dir=/dev/null"]
            extensions = mypycify(
                [*options, *modules], opt_level="2", debug_level="0", target_dir=str(made), group_name="gateway"
            )
        for extension in extensions:
            extension.extra_compile_args.append("-w")  # mypyc makes errors of warnings, which differ between compilers
        # Not by setup(), which would read pyproject.toml as if it were setuptools'.
        command = build_ext(Distribution({"ext_modules": extensions}))
        command.build_temp, command.build_lib = str(made), str(folder)
        command.ensure_finalized()
        command.run()
    except SystemExit as stopped:  # how mypyc ends: what it found is on its output
        raise NotCompiled(
            f"mypyc: {stopped.code if isinstance(stopped.code, str) else said.getvalue().rstrip()}"
        ) from None
    except (BaseError, CompileError, LinkError) as error:
        raise NotCompiled(f"{error} (compiling needs gcc and the headers of libc and of this Python)") from None


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
