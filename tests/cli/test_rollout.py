"""`rollout status`, `rollout rollback`, and what `check` says of a candidate."""

import json

import pytest

from tests.cli.command import Home

CANDIDATE = "egress: {allow_hosts: [a.example]}\n"


@pytest.fixture
def trying(here: Home) -> Home:
    """With a candidate; no gateway runs yet."""
    (here.folder / "policies" / "candidate.yaml").write_text(CANDIDATE)
    return here


def test_status_and_rollback_tell_how_it_stands(trying: Home) -> None:
    with trying.serving():
        before = trying.run("rollout", "status")
        assert (before.code, before.err) == (0, "")
        assert before.out.startswith("candidate.yaml is tried\nshare        10 % of the runs, since ")
        assert "0 errors in 0 calls\n" in before.out
        assert "  changes    egress.allow_hosts\n" in before.out
        version = json.loads(trying.run("rollout", "status", "--json").out)["candidate"]["version"]
        on_trial = f"candidate    {version} for 10 % of the runs (see tool-gateway rollout status)\n"
        assert on_trial in trying.run("status").out
        ended = trying.run("rollout", "rollback", "--reason", "tickets close twice")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith("candidate.yaml is rolled back: every run lives under the policy until its content")
        assert ": tickets close twice\n" in ended.out
        assert ended.out.endswith("Reach: this instance; survives a restart as long as its state volume does.\n")
        again = trying.run("rollout", "rollback", "--reason", "x")
        assert (again.code, again.out) == (1, "")
        assert again.err == "tool-gateway: No candidate to roll back: candidate.yaml is rolled back already.\n"
        view = json.loads(trying.run("rollout", "status", "--json").out)
        assert (view["state"], view["rolled_back"]["reason"]) == ("rolled_back", "tickets close twice")
        status = trying.run("status").out
        assert "degraded     candidate_rolled_back\n" in status
        assert on_trial not in status


def test_without_a_candidate_status_says_so_and_a_rollback_exits_1(here: Home) -> None:
    with here.serving():
        assert here.run("rollout", "status").out == "no candidate.yaml: every run lives under the policy\n"
        refused = here.run("rollout", "rollback", "--reason", "x", "--json")
        assert (refused.code, refused.out) == (1, "")


def test_a_refused_candidate_is_told_by_its_lines(here: Home) -> None:
    (here.folder / "policies" / "candidate.yaml").write_text("tools: {allowlist: 3}\n")
    with here.serving():
        said = here.run("rollout", "status")
    assert said.code == 0
    assert "  refused    candidate.yaml:1:9 tools.allowlist: expected a list, got 3\n" in said.out


@pytest.mark.parametrize("command", [("status",), ("rollback", "--reason", "x")])
def test_without_a_gateway_it_cannot_be_asked(here: Home, command: tuple[str, ...]) -> None:
    said = here.run("rollout", *command, GATEWAY_ADMIN_LISTEN="127.0.0.1:1")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("tool-gateway: admin plane not reachable at 127.0.0.1:1")


def test_a_rollback_needs_a_reason(here: Home) -> None:
    said = here.run("rollout", "rollback")
    assert (said.code, said.out) == (2, "")
    assert "Missing option '--reason'" in said.err


def test_check_says_what_a_candidate_changes_for_how_many_runs(trying: Home) -> None:
    said = trying.run("check")
    assert (said.code, said.err) == (0, "")
    assert ", for 10 % of the runs\ncandidate.yaml changes egress.allow_hosts\n" in said.out
    view = json.loads(trying.run("check", "--json").out)
    assert (view["candidate"]["changes"], view["candidate"]["canary_percent"]) == (["egress.allow_hosts"], 10)


def test_check_refuses_a_bad_candidate_and_warns_of_one_that_does_nothing(trying: Home) -> None:
    file = trying.folder / "policies" / "candidate.yaml"
    file.write_text("{}")
    assert "warning: candidate: candidate.yaml changes nothing\n" in trying.run("check").out
    file.write_text("governed: {}")
    said = trying.run("check")
    assert said.code == 1
    assert said.out.startswith("candidate.yaml:1:1 governed: ")
