"""docs/operations.md names every setting, section of a policy, degraded word, event, alert and exit code there is; its lines run."""

import ast
import inspect
import itertools
import json
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from gateway.admin.inspection import Inspection
from gateway.cli.output import CannotError, NoError
from gateway.policy.schema.json_schema import json_schema
from gateway.settings import VARIABLES
from tests.deploy.stack import GatewayProcess, within_seconds
from tests.docs.terminal import Terminal

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
ROTATE_TOKEN, ROTATE_LOG, BACK_UP = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
RUNS = map("another-{}".format, itertools.count())
EVENT = re.compile(r'(?:\bEvent\(\s*|_tell\(\s*)"([a-z_]+)"')


def firsts(heading: str) -> list[str]:
    """The words in code of the first column of the tables below a heading."""
    part = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*`|\d) \|", part, re.MULTILINE)
    return [word for cell in cells for word in re.findall(r"`([^`]+)`", cell) or [cell]]


def test_every_section_of_a_policy_and_every_setting_is_hot_or_needs_a_restart() -> None:
    assert firsts("What is hot, and what needs a restart") == [*json_schema()["properties"], *VARIABLES]


def test_a_running_gateway_takes_a_change_of_every_section(tmp_path: Path) -> None:
    full = yaml.safe_load((ROOT / "tests/policies/good/full.yaml").read_text())
    assert full.keys() == {*json_schema()["properties"]}
    written: dict[str, object] = {"tools": {"allowlist": []}}
    kinds = sorted(full, key=["upstreams", "mcp_servers"].__contains__, reverse=True)  # tools name them
    environment = {"SET": "a-secret", "OTHER": "another-secret"}
    with GatewayProcess(tmp_path / "here", policy=yaml.safe_dump(written), environment=environment) as gateway:
        pid, version = gateway.process.pid, gateway.operate("GET", "/v1/policy")[1]["version"]
        for section in kinds:
            written[section] = full[section]
            (tmp_path / "here/policies/policy.yaml").write_text(yaml.safe_dump(written))
            status, answer = gateway.operate("POST", "/v1/policy/reload")
            assert status == 200, answer
            before, version = version, gateway.operate("GET", "/v1/policy")[1]["version"]
            assert version != before, section
        assert gateway.operate("GET", "/v1/status")[1]["kill_switches"]
        assert (gateway.process.pid, gateway.process.poll()) == (pid, None)


def test_every_degraded_word_is_explained_in_its_order() -> None:
    tree = ast.parse(textwrap.dedent(inspect.getsource(Inspection.degraded)))
    (words,) = (node for node in ast.walk(tree) if isinstance(node, ast.Dict))
    assert firsts("Words under `degraded`") == [ast.literal_eval(key) for key in words.keys if key is not None]


def test_every_event_has_a_word_on_what_to_do() -> None:
    emitted = {name for file in (ROOT / "gateway").rglob("*.py") for name in EVENT.findall(file.read_text("utf-8"))}
    assert set(firsts("Events in the log")) == emitted


def test_every_alert_has_a_first_step_and_pages_where_it_says() -> None:
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yaml").read_text())["groups"][0]["rules"]
    assert set(firsts("Alerts")) == {rule["alert"] for rule in rules}
    paging = {rule["alert"] for rule in rules if rule["labels"]["severity"] == "page"}
    assert set(re.findall(r"^\| `(\w+)` \| page:", PAGE, re.MULTILINE)) == paging
    assert "pages for two of them" in PAGE
    assert len(paging) == 2


def test_every_exit_code_has_a_row() -> None:
    left = re.compile(r"\bSystemExit\((\d)\)|\bexit_code = (\d)")
    commands = {code for file in (ROOT / "gateway/cli").glob("*.py") for code in left.findall(file.read_text())}
    served = re.findall(r"^\s+return (\d)$", (ROOT / "gateway/app.py").read_text(), re.MULTILINE)
    assert {int(one or other) for one, other in commands} == {NoError.exit_code, CannotError.exit_code}
    assert {int(code) for code in served} == {0, 2}
    assert firsts("Exit codes") == ["0", "1", "2"]


def start(terminal: Terminal) -> None:
    terminal.paste("GATEWAY_LOG=gateway.log tool-gateway serve & echo $! > pid")
    within_seconds(lambda: terminal.events().count("gateway_started") == 1)


def stop(terminal: Terminal) -> None:
    terminal.paste("kill -INT $(cat pid); wait $(cat pid)")


def written_anew(terminal: Terminal) -> bool:
    """A line is written; the gateway looks where once a second."""
    terminal.paste(f"curl -s -X POST http://{terminal.data}/_gateway/runs/{next(RUNS)}/steps")
    return (terminal.folder / "gateway.log").exists()


@pytest.mark.needs("curl")
def test_its_lines_rotate_a_token_and_a_log_and_bring_a_state_back(terminal: Terminal) -> None:
    terminal.paste("tool-gateway init")
    start(terminal)
    base = f"http://{terminal.data}/_gateway/runs/task-1"
    token = (terminal.folder / "var/admin_token").read_text()
    terminal.paste(f"curl -s -X POST {base}/steps")

    said = terminal.paste(ROTATE_TOKEN)
    assert "policy " in said
    assert (terminal.folder / "var/admin_token").read_text() != token
    assert (terminal.folder / "var/admin_token").stat().st_mode & 0o077 == 0
    refused = terminal.paste(f"curl -s http://{terminal.admin}/v1/status -H 'Authorization: Bearer {token.strip()}'")
    assert '"status":401' in refused.replace(" ", "")

    terminal.paste(ROTATE_LOG)
    within_seconds(lambda: written_anew(terminal))
    stop(terminal)
    assert terminal.events()[-1] == "gateway_stopped"

    terminal.paste(BACK_UP)
    terminal.paste("rm var/gateway.db gateway.log")
    start(terminal)
    assert "404" in terminal.paste(f"curl -si {base}").splitlines()[0]
    stop(terminal)
    terminal.paste("cp gateway.db.backup var/gateway.db; rm gateway.log")
    start(terminal)
    told = json.loads(terminal.paste(f"curl -s {base}").strip())
    assert told["counts"]["steps"] == 1, told
    stop(terminal)
