"""What newcomers paste: `make run` as far as its script goes, the lines it prints, and those of the README, each run by a shell."""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.settings import Address
from tests.deploy.stack import clean_environment, free_address

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.needs("curl")


class Trial(NamedTuple):
    """A running `make run`: where, and what it printed until it was ready."""

    folder: Path
    process: subprocess.Popen[str]
    data: Address
    admin: Address
    printed: str


def toy(address: Address) -> list[str]:
    return [sys.executable, "-m", "gateway", "demo", "--listen", str(address)]


def start(folder: Path, **settings: str) -> subprocess.Popen[str]:
    """scripts/run.py in a folder that holds what it needs of the repository."""
    (folder / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/run.py", folder / "scripts")
    shutil.copytree(ROOT / "policies", folder / "policies")
    return subprocess.Popen(
        [sys.executable, str(folder / "scripts/run.py")],
        env=clean_environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    data, admin, tools = free_address(), free_address(), free_address()
    server = subprocess.Popen(toy(tools))
    settings = {"GATEWAY_LISTEN": str(data), "GATEWAY_ADMIN_LISTEN": str(admin), "GATEWAY_UPSTREAM": f"http://{tools}"}
    process = start(tmp_path / "clone", **settings, GATEWAY_LOG=str(tmp_path / "log"))
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not lines or not lines[-1].startswith("Ctrl-C"):
            lines.append(process.stdout.readline())
            assert lines[-1], (lines, process.communicate())
        yield Trial(tmp_path / "clone", process, data, admin, "".join(lines))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        server.terminate()
        server.wait(20)


def curl_lines(text: str) -> list[str]:
    joined = text.replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip().startswith("curl ")]


def paste(trial: Trial, line: str) -> tuple[int, str]:
    """The status and text of a pasted line, with the ports this trial has."""
    line = line.replace("127.0.0.1:8080", str(trial.data)).replace("127.0.0.1:8081", str(trial.admin))
    done = subprocess.run(
        line + " -s -w '\\n%{http_code}'",
        shell=True,
        cwd=trial.folder,
        env=clean_environment(no_proxy="*"),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def what_happens(trial: Trial, lines: list[str]) -> list[tuple[str, int]]:
    return [
        (re.split(r"[?' ]", line.partition("http://")[2].partition("/")[2])[0], paste(trial, line)[0]) for line in lines
    ]


EXPECTED = [
    ("runs/try-1/tools/search.read", 200),
    ("runs/try-1/tools/shell.run", 403),
    ("_gateway/runs/try-1", 200),
    ("healthz", 200),
    ("v1/kill-switches", 200),
    ("v1/kill-switches/all", 200),
]


def test_the_lines_of_the_readme_do_what_it_says(trial: Trial) -> None:
    assert what_happens(trial, curl_lines((ROOT / "README.md").read_text())) == EXPECTED


def test_the_lines_that_make_run_prints_do_what_it_says(trial: Trial) -> None:
    assert what_happens(trial, curl_lines(trial.printed)) == EXPECTED


def test_while_the_switch_is_on_the_allowed_call_is_refused(trial: Trial) -> None:
    allowed, *_, kill, restore = curl_lines(trial.printed)

    seen = [paste(trial, line) for line in (allowed, kill, allowed, restore, allowed)]

    assert [seen[0][0], seen[2][0], seen[4][0]] == [200, 403, 200]
    assert "trying it out" in seen[2][1]


def test_the_admin_token_is_the_owners_alone_and_outlives_the_run(trial: Trial) -> None:
    token = trial.folder / "var/admin_token"

    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert len(token.read_text().strip()) >= 32


def test_ctrl_c_stops_it_cleanly(trial: Trial) -> None:
    trial.process.send_signal(signal.SIGINT)

    assert trial.process.wait(20) == 0
    with socket.socket() as probe:
        assert probe.connect_ex((trial.data.host, trial.data.port)) != 0


@pytest.mark.parametrize("name", ["GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"])
def test_a_port_in_use_is_one_line(tmp_path: Path, name: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        free = {"GATEWAY_LISTEN": str(free_address()), "GATEWAY_ADMIN_LISTEN": str(free_address())}
        taken = {name: f"127.0.0.1:{other.getsockname()[1]}"}
        process = start(tmp_path / "clone", GATEWAY_UPSTREAM="http://127.0.0.1:9", **free | taken)
        output, errors = process.communicate(timeout=30)

    assert (process.returncode, output) == (1, "")
    assert errors.count("\n") == 1
    assert f"{taken[name]} is in use" in errors
    assert name in errors


def test_the_policy_of_the_readme_is_one_that_loads(tmp_path: Path) -> None:
    (policy,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "policy.yaml").write_text(policy)

    command = [sys.executable, "-m", "gateway", "check", str(tmp_path)]
    done = subprocess.run(
        command, env=clean_environment(GATEWAY_UPSTREAM="http://127.0.0.1:9"), capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr + done.stdout


def test_every_setting_stands_in_the_readme() -> None:
    from gateway.settings import VARIABLES

    table = (ROOT / "README.md").read_text().partition("## Settings")[2].partition("\n## ")[0]
    assert {name for name in VARIABLES if f"`{name}`" not in table} == set()
    assert set(re.findall(r"`((?:GATEWAY|AGENT)_\w+)`", table)) <= set(VARIABLES)


def test_every_link_of_the_documents_leads_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
    assert os.access(ROOT / ".ci/run", os.X_OK)
