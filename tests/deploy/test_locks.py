"""The locks: every package pinned with hashes, agreeing with each other, naming no registry and no path of a machine."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = "deploy/examples/frameworks/requirements.lock"
TRACED = "requirements-otel.lock"
LOCKS = ["requirements.lock", TRACED, "requirements-build.lock", "requirements-dev.lock", FRAMEWORKS]


def pins(name: str) -> dict[str, str]:
    """Package → version with its markers, as they stand in the lock."""
    text = (ROOT / name).read_text()
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==(\S+(?: ;[^\\\n]*)?)", text, re.MULTILINE))


def versions(name: str) -> dict[str, str]:
    """Without markers: what runs may need a package on fewer Pythons than what tests."""
    return {package: pin.partition(" ")[0] for package, pin in pins(name).items()}


def project_requirements(*groups: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    known = project["dependency-groups"] | project["project"]["optional-dependencies"]
    wanted = [line for group in groups for line in known[group]]
    if not groups:
        wanted = project["project"]["dependencies"]
    return {re.split(r"[^A-Za-z0-9._-]", line)[0].lower().replace("_", "-") for line in wanted}


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_a_version_and_hashes(name: str) -> None:
    entries = re.split(r"^(?=[a-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]

    assert entries
    for entry in entries:
        assert re.match(r"\S+==\S+ (;[^\\\n]*)?\\\n    --hash=sha256:[0-9a-f]{64}", entry), entry.splitlines()[0]


@pytest.mark.parametrize("name", LOCKS)
def test_no_registry_and_no_path_is_named(name: str) -> None:
    text = (ROOT / name).read_text()

    assert "://" not in text
    assert not re.search(r"^\s*(-i|--\w*index\w*|--find-links|--trusted-host|-e|.* @ )", text, re.MULTILINE)
    assert not re.search(r"(^|[\s(])/\w", text, re.MULTILINE)


def test_the_locks_agree_on_every_version() -> None:
    everything = versions("requirements-dev.lock")

    assert versions("requirements.lock").items() <= versions(TRACED).items() <= everything.items()
    assert versions("requirements-build.lock").items() <= everything.items()


def test_the_locks_hold_what_the_project_asks_for() -> None:
    assert project_requirements() <= pins("requirements.lock").keys()
    assert project_requirements("otel") <= pins(TRACED).keys()
    assert project_requirements("build") <= pins("requirements-build.lock").keys()
    assert project_requirements("dev", "build") <= pins("requirements-dev.lock").keys()


def test_what_runs_needs_nothing_of_what_builds_or_tests() -> None:
    assert not project_requirements("dev", "build") & pins("requirements.lock").keys()
