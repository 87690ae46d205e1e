"""The two commands: what `make test` checks is what CI runs, on any machine."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.deploy.stack import clean_environment

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.needs("make", "bash")


def recipe(target: str) -> list[str]:
    """The commands make would run, were nothing made yet."""
    done = subprocess.run(
        ["make", "--no-print-directory", "-nB", target],
        cwd=ROOT,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.replace("\\\n", " ").splitlines()


def test_make_test_checks_format_lint_types_imports_and_behaviour() -> None:
    checks = [line.removeprefix(".venv/bin/") for line in recipe("test")[-5:]]

    assert checks == ["ruff format --check .", "ruff check .", "mypy", "lint-imports", "python -m pytest"]


@pytest.mark.parametrize("target", ["run", "test"])
def test_nothing_is_installed_without_a_known_hash(target: str) -> None:
    installs = [line.split("||")[0] for line in recipe(target) if " install " in line]

    (project,) = (line for line in installs if "--editable" in line)
    assert {"--no-deps", "--no-build-isolation"} < set(shlex.split(project))
    installs.remove(project)
    assert installs
    assert all("--require-hashes" in line for line in installs)


@pytest.mark.parametrize("target", ["run", "docs"])
def test_without_a_package_index_it_says_what_it_needs(tmp_path: Path, target: str) -> None:
    """With a Python whose pip fetches nothing."""
    for name in ("Makefile", "pyproject.toml", *(path.name for path in ROOT.glob("requirements*.lock"))):
        (tmp_path / name).write_text((ROOT / name).read_text())
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'ERROR: none found' >&2\nexit 1\n")
    python.chmod(0o755)

    done = subprocess.run(["make", target], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True)

    assert done.returncode == 2
    assert done.stdout.splitlines()[-1].startswith(
        "packages could not be fetched (pip says why above): is a package index"
    )


def test_ci_runs_exactly_make_test() -> None:
    script = ROOT / ".ci/run"

    assert script.read_text().splitlines()[-1] == "exec make test"
    assert os.access(script, os.X_OK)


def test_a_package_that_cannot_be_had_is_one_line_and_keeps_no_other_away(tmp_path: Path) -> None:
    """With an apt-get that fails where it does not know all that it is asked for, as it does."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts/system-packages").write_text((ROOT / "scripts/system-packages").read_text())
    (tmp_path / "apt.txt").write_text("# why\none\nno-such-package\nother\n")
    (tmp_path / "bin").mkdir()
    apt_get = f'echo noise; case "$*" in *no-such*) exit 100;; *install*) echo "$*" >> {tmp_path}/installed;; esac'
    for name, body in {"apt-get": apt_get, "dpkg-query": "exit 1", "id": "echo 0"}.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"

    command = ["bash", str(tmp_path / "scripts/system-packages")]
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, timeout=30)

    assert done.returncode == 0
    assert done.stdout.splitlines() == ["could not install no-such-package (apt.txt): what needs them is skipped"]
    installed = (tmp_path / "installed").read_text().splitlines()
    assert [line.rpartition(" ")[2] for line in installed] == ["one", "other"]
