"""Whole policies against the very lines they are answered with: a case is a file or folder, and a .txt with its lines."""

import shutil
from pathlib import Path

import pytest

from gateway.policy.source import Checked, check

POLICIES = Path(__file__).parents[2] / "policies"
SHIPPED = Path(__file__).parents[3] / "policies"
ENVIRON = {
    "SET": "a-secret-of-the-tests",
    "OTHER": "another-secret",
    "EMPTY": "",
    "TWO_LINES": "one\ntwo",
    "BILLING_AGENT_TOKEN": "billing-agent-token",
    "SUPPORT_AGENT_TOKEN": "support-agent-token",
    "BILLING_API_TOKEN": "billing-api-token",
    "BROWSER_AGENT_TOKEN": "browser-agent-token",
    "GOVERNED_API_KEY": "governed-api-key",
    "GOVERNED_ADMIN_KEY": "governed-admin-key",
}
OWN = frozenset([("127.0.0.1", 8080), ("127.0.0.1", 8081)])


def cases(kind: str) -> list[Path]:
    return sorted(p for p in (POLICIES / kind).iterdir() if p.suffix != ".txt")


def expected(case: Path) -> tuple[str, ...]:
    return tuple(case.with_name(case.name.removesuffix(".yaml") + ".txt").read_text("utf-8").splitlines())


def checked(case: Path, tmp_path: Path) -> Checked:
    folder = tmp_path / "policies"
    if case.is_dir():
        shutil.copytree(case, folder)
    else:
        folder.mkdir()
        shutil.copy(case, folder / "policy.yaml")
    return check(str(folder), environ=ENVIRON, own_listeners=OWN)


@pytest.mark.parametrize("case", cases("bad"), ids=lambda path: path.name)
def test_a_bad_policy_is_refused_with_these_lines(case: Path, tmp_path: Path) -> None:
    answer = checked(case, tmp_path)
    assert answer.snapshot is None
    assert tuple(line.removeprefix(f"{tmp_path}/policies/") for line in answer.problems) == expected(case)
    assert "hunter2" not in str(answer)


@pytest.mark.parametrize("case", cases("good"), ids=lambda path: path.name)
def test_a_good_policy_loads_with_these_warnings(case: Path, tmp_path: Path) -> None:
    answer = checked(case, tmp_path)
    assert answer.problems == ()
    assert answer.snapshot is not None
    tried = answer.candidate
    told = [] if tried is None else [*(f"changes: {key}" for key in tried.changes), *tried.warnings]
    assert (*answer.warnings, *told) == expected(case)


@pytest.mark.parametrize("folder", sorted(p.parent for p in SHIPPED.glob("**/policy.yaml")), ids=lambda path: path.name)
def test_every_shipped_policy_loads(folder: Path) -> None:
    assert check(str(folder), environ=ENVIRON).problems == ()
    assert "# yaml-language-server: $schema=" in (folder / "policy.yaml").read_text("utf-8")


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"unknown_{n}: 1\n" for n in range(100_000)),
        "tools: {definitions: {" + ", ".join(f"t{n}: {{efect: read}}" for n in range(30_000)) + "}}",
        "mode: " + "a" * 4_000_000,
        "a" * 4_000_000 + ": 1",
        "upstreams: {a: {url: 'http://"
        + "ä" * 1_000_000
        + "', headers: {X-Token: '${env:SET}"
        + " " * 1_000_000
        + "x'}}}",
        "tools: {definitions: {a: {arguments: {" + ", ".join(f"k{n}: 1" for n in range(100_000)) + "}}}}",
    ],
    ids=[
        "many-unknown-keys",
        "many-bad-tools",
        "long-value",
        "long-key",
        "long-url-and-header",
        "many-unknown-keywords",
    ],
)
def test_a_file_made_to_take_long_is_still_refused(text: str, tmp_path: Path) -> None:
    """Each of these would take hours if anything grew with the square of its size."""
    (tmp_path / "policy.yaml").write_text(text)
    answer = check(str(tmp_path), environ=ENVIRON)
    assert answer.problems
    assert len(answer.problems) <= 21
    assert max(map(len, answer.problems)) < 500
