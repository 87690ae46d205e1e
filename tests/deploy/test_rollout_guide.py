"""docs/rollout.md does what it says: its policies load, its commands run, and its promise about promotion holds."""

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.cli.command import Home
from tests.cli.conftest import here, sockets

__all__ = ["here", "sockets"]

GUIDE = (Path(__file__).resolve().parents[2] / "docs/rollout.md").read_text("utf-8")
FILES = {
    text.partition("\n")[0].removeprefix("# "): text for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
}
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.splitlines()
]


def pasted(home: Home, line: str) -> str:
    """A line of the guide, run by a shell in the installation's folder."""
    command = line.replace("tool-gateway", f"{sys.executable} -m gateway", 1)
    done = subprocess.run(
        command, shell=True, cwd=home.folder, env=dict(home.environ), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, ""), line
    return done.stdout


def test_the_guide_can_be_followed_line_by_line(here: Home) -> None:
    assert set(FILES) == {"policy.yaml", "candidate.yaml"}
    for name, text in FILES.items():
        (here.folder / "policies" / name).write_text(text)
    home = Home(here.folder, {**here.environ, "GATEWAY_UPSTREAM": "http://127.0.0.1:9"})
    check, status, rollback = COMMANDS
    said = pasted(home, check)
    assert "candidate.yaml: ok, version " in said
    assert "candidate.yaml changes tools.definitions.search.read.timeout_ms\n" in said
    with home.serving():
        assert pasted(home, status).startswith("candidate.yaml is tried\nshare        10 % of the runs")
        assert pasted(home, rollback).startswith("candidate.yaml is rolled back")


def test_a_promoted_candidate_has_the_version_that_check_named_for_it(here: Home) -> None:
    policies = here.folder / "policies"
    for name, text in FILES.items():
        (policies / name).write_text(text)
    environ = {"GATEWAY_UPSTREAM": "http://127.0.0.1:9"}
    before = json.loads(here.run("check", "--json", **environ).out)
    rollout = FILES["policy.yaml"].partition("rollout:")[2]
    (policies / "policy.yaml").write_text(f"{FILES['candidate.yaml']}rollout:{rollout}")
    (policies / "candidate.yaml").unlink()
    after = json.loads(here.run("check", "--json", **environ).out)
    assert after["version"] == before["candidate"]["version"] != before["version"]
