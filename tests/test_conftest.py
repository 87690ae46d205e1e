"""The suite's own promises: a missing command skips a test with a line that says so, and under CI=true fails the session."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.needs("no-such-command")
def test_with_it():
    raise AssertionError("must not run")

def test_without_it():
    pass
"""


def run_suite(folder: Path, ci: str, asked: str) -> subprocess.CompletedProcess[str]:
    shutil.copy(Path(__file__).with_name("conftest.py"), folder)
    (folder / "test_sample.py").write_text(TESTS)
    (folder / "pytest.ini").write_text(
        "[pytest]\nmarkers = needs\naddopts = -ra -p no:cacheprovider -p xdist -n auto\n"
    )
    command = [sys.executable, "-m", "pytest", asked]
    # Of pytest's plugins only those that are needed: the others take seconds to start.
    environment = {**os.environ, "CI": ci, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder, timeout=60)


@pytest.mark.parametrize(("ci", "asked", "code"), [("false", ".", 0), ("true", ".", 1), ("true", "test_sample.py", 1)])
def test_a_missing_command_skips_with_one_line_and_fails_under_ci(
    tmp_path: Path, ci: str, asked: str, code: int
) -> None:
    done = run_suite(tmp_path, ci, asked)

    assert "1 passed, 1 skipped" in done.stdout
    assert done.stdout.count("no-such-command not found") == 1
    assert done.returncode == code
    assert ("which is a failure" in done.stdout) == (code == 1)
    assert ("created: " in done.stdout) == (asked == "."), "folders are shared out, a file is not"
