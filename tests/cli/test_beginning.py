"""`init`, `demo` and what `serve` loads."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

from click.testing import CliRunner

from gateway.cli.beginning import init
from gateway.cli.commands import commands
from tests.cli.command import Home

ROOT = Path(__file__).resolve().parents[2]


def test_init_writes_a_policy_that_passes_and_a_token_for_the_owner_alone(tmp_path: Path) -> None:
    said = CliRunner().invoke(init, [str(tmp_path)])
    assert said.exit_code == 0
    token = tmp_path / "var" / "admin_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "var").stat().st_mode & 0o777 == 0o700
    assert len(token.read_text().strip()) >= 32
    checked = CliRunner().invoke(commands, ["check", str(tmp_path / "policies")])
    assert checked.exit_code == 0
    assert "warning" not in checked.stdout


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "policy.yaml").write_text("mine")
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "admin_token").symlink_to(tmp_path / "elsewhere")
    said = CliRunner().invoke(init, [str(tmp_path)])
    assert said.exit_code == 0
    assert (tmp_path / "policies" / "policy.yaml").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()
    assert [line.split()[0] for line in said.stdout.splitlines()[:3]] == ["kept", "created", "kept"]


def test_init_that_cannot_write_says_where(tmp_path: Path) -> None:
    (tmp_path / "policies").write_text("a file")
    said = CliRunner().invoke(commands, ["init", str(tmp_path)])
    assert said.exit_code == 2
    assert said.stderr.startswith(f"tool-gateway: {tmp_path}/policies")


def test_the_starter_policy_is_the_shipped_one() -> None:
    assert (ROOT / "gateway/cli/starter.yaml").read_text() == (ROOT / "policies/policy.yaml").read_text()


def test_serve_does_not_load_what_the_other_commands_need(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['tool-gateway', 'serve']\nfrom gateway.cli import main\n"
        "try: main()\nexcept SystemExit: pass\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "GATEWAY_POLICY": str(tmp_path / "none")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "does not exist" in done.stderr
    assert not {"click", "gateway.demo", "gateway.cli.commands"} & set(done.stdout.split())


def test_ctrl_c_during_the_start_of_serve_ends_it_without_a_word(here: Home) -> None:
    command = [sys.executable, "-m", "gateway", "serve"]
    with subprocess.Popen(command, cwd=here.folder, env=here.environ, stderr=subprocess.PIPE, text=True) as starting:
        while not handles(starting.pid, signal.SIGTERM):  # what it handles last
            assert starting.poll() is None
        starting.send_signal(signal.SIGINT)
        _, said = starting.communicate(timeout=60)
    assert (starting.returncode, said) == (0, "")


def handles(pid: int, number: signal.Signals) -> bool:
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def test_demo_serves_tools_and_counts_what_arrives(here: Home) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo", "--listen", "127.0.0.1:0"],
        env=dict(here.environ),
        cwd=here.folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        url = next(word for word in process.stderr.readline().split() if word.startswith("http://"))
        with urllib.request.urlopen(f"{url}/search.read?q=budgets", timeout=10) as response:
            assert b"Budgets" in response.read()
        with urllib.request.urlopen(url, timeout=10) as response:
            assert response.read() == b'{"received": {"search.read": 1}}'
        process.terminate()
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.communicate()


def test_demo_says_why_it_cannot_listen(here: Home) -> None:
    assert here.run("demo", "--listen", "9000").err == "tool-gateway: --listen: expected host:port or [v6]:port\n"
