"""`kill`, `restore`, `status` and `explain` against a gateway that runs."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.command import Home


def test_kill_says_what_it_stops_and_how_far_it_reaches_and_restore_lifts_it(running: Home) -> None:
    killed = running.run("kill", "writes", "--reason", "wiki under attack", "--for", "90m")
    assert (killed.code, killed.err) == (0, "")
    assert killed.out.splitlines() == [
        "ON: writes, for 1h 30m",
        (
            "Stops every call of a tool that writes, of every agent (undeclared effects count as writes); reads go on."
            " Calls that wait (in a queue, or for a retry) end now; calls already at a tool run to their end."
        ),
        "Reach: this instance; survives a restart as long as its state volume does.",
        "Lift it with: tool-gateway restore writes",
    ]
    status = running.run("status")
    assert status.code == 0
    assert "\nnot ok       no call lately\n" in status.out
    assert "degraded     kill_switch\n" in status.out
    assert "  writes: wiki under attack (runtime, by " in status.out
    restored = running.run("restore", "writes")
    assert (restored.code, restored.err) == (0, "")
    assert restored.out.startswith("OFF: writes\n")
    again = running.run("restore", "writes")
    assert (again.code, again.out, again.err) == (1, "", "tool-gateway: No kill switch is on.\n")


def test_restore_exits_1_and_names_the_source_that_still_holds(running: Home) -> None:
    (running.folder / "policies" / "kill_switch.yaml").write_text("disable_all: true\n")
    assert running.run("kill", "all", "--reason", "drill").code == 0
    status = json.loads(running.run("status", "--json").out)
    while len(status["kill_switches"]) < 2:  # the file is looked at four times a second
        status = json.loads(running.run("status", "--json").out)
    said = running.run("restore", "all")
    assert (said.code, said.out) == (1, "")
    assert said.err == (
        "tool-gateway: The switch set at run time is lifted, but all is still stopped by kill_switch.yaml: remove it there.\n"
    )


def test_a_stop_that_may_stop_nothing_says_so_and_what_may_have_been_meant(running: Home) -> None:
    for scope, doubt in (
        ("agent:billing", "the policy names no agent billing, so it may stop nothing."),
        (
            "tool:search.raed",
            "the policy names no tool search.raed, so it may stop nothing. Did you mean tool:search.read?",
        ),
        ("run:r-77", "no run of the id r-77 is in progress just now."),
        ("agent:default", None),
        ("tool:search.read", None),
        ("tool:shell.*", None),
    ):
        said = running.run("kill", scope, "--reason", "drill")
        assert said.code == 0
        assert said.out.splitlines()[-1] == (
            f"But: {doubt}" if doubt else f"Lift it with: tool-gateway restore {scope}"
        )


def test_what_a_stop_would_do_can_be_asked_first(running: Home) -> None:
    said = running.run("kill", "all", "--dry-run", "--cancel-in-flight")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("Stops every call of every agent. ")
    assert (
        "are cut, though the tool may have run.\nJust now: 0 runs in progress, 0 calls in flight, 0 of them" in said.out
    )
    assert "kill switches none\n" in running.run("status").out
    assert json.loads(running.run("kill", "all", "--dry-run", "--json").out)["runs_in_progress"] == 0
    without_reason = running.run("kill", "all")
    assert (without_reason.code, without_reason.out) == (2, "")
    assert without_reason.err == "tool-gateway: Missing option '--reason'. See tool-gateway kill --help.\n"


def test_status_tells_who_is_in_trouble_and_why(running: Home) -> None:
    for tool in ("search.read", "shell.run", "shell.run"):
        running.call(tool)
    status = running.run("status").out
    assert "\nnot ok       3 calls lately (see each: tool-gateway tail --reason '!ok' -n 200)\n" in status
    assert (
        "     2 tool_not_allowed       shell.run, agent default\n     1 upstream_failed        search.read," in status
    )
    named, why, *commands = status.splitlines()[-4:]
    assert named == "in trouble   default: 3 of its last 3 calls did not end ok, 2 of them shell.run: tool_not_allowed."
    assert why.startswith("  why        This agent may not use the tool shell.run (")
    assert commands == [
        "  see each   tool-gateway tail --agent default --reason '!ok'",
        "  stop it    tool-gateway kill agent:default --reason 'shell.run: tool_not_allowed'",
    ]
    running.run("kill", "agent:default", "--reason", "drill")
    assert running.run("status").out.endswith("  stopped; restore with: tool-gateway restore agent:default\n")


def test_status_names_the_upstream_that_is_left_alone(running: Home) -> None:
    assert "circuit_breaker" not in running.run("status").out
    for _ in range(5):
        assert b" 50" in running.call("search.read")
    status = running.run("status").out
    assert re.search(
        r"degraded     breaker_open\n  upstream default: left alone for \d\d\.\d s more \(circuit_breaker\)\n", status
    )


def test_explain_asks_the_running_gateway_and_exits_0_whatever_it_says(running: Home) -> None:
    running.run("kill", "run:r1", "--reason", "drill")
    said = running.run("explain", "--agent", "default", "--tool", "search.read", "--run", "r1")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("DENIED: search.read for default\nreason     kill_switch (guard kill_switch)\n")
    assert "\nrule       kill switch run:r1 (runtime, by " in said.out
    assert "asked      the running gateway, version " in said.out


def test_explain_tells_how_the_budgets_stand(running: Home) -> None:
    before = running.run("explain", "--agent", "default", "--tool", "search.read", "--run", "r1").out
    assert "\nrun now    it has not begun\nagent now  0 of 6,000 runs started this hour\n" in before
    running.call("search.read")
    after = running.run("explain", "--agent", "default", "--tool", "search.read").out
    assert re.search(
        r"\nrun now    0 of 12 tool calls, 0 of 25 steps, \d+ of 60 s\n", after
    )  # nothing was sent: nothing is charged
    view = json.loads(running.run("explain", "--agent", "default", "--tool", "search.read", "--json").out)
    assert (view["used"]["run"]["used"]["tool_calls"], view["asked"]) == (0, "the running gateway")


@pytest.mark.parametrize("scope", ["tool:shell.*", "run:default/r1"])
def test_json_is_for_scripts(running: Home, scope: str) -> None:
    killed = json.loads(running.run("kill", scope, "--reason", "drill", "--cancel-in-flight", "--json").out)
    assert (killed["kill_switch"]["scope"], killed["kill_switch"]["cancel_in_flight"]) == (scope, True)
    restored = running.run("restore", scope, "--json")
    assert json.loads(restored.out)["lifted"] == scope
    refused = running.run("restore", scope, "--json")
    assert refused.code == 1
    assert json.loads(refused.out)["status"] == 404


def test_a_scope_that_is_none_cannot_be_killed(running: Home) -> None:
    said = running.run("kill", "everything", "--reason", "drill")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "tool-gateway: not a scope: expected all, writes, tool:PATTERN, agent:ID, run:ID or run:AGENT/ID.\n"
    )


def test_a_wrong_token_says_where_the_right_one_is(running: Home) -> None:
    said = running.run("status", GATEWAY_ADMIN_TOKEN="not-it")
    assert said.code == 2
    assert said.err.startswith(
        f"tool-gateway: the gateway at {running.environ['GATEWAY_ADMIN_LISTEN']} did not take the admin token:"
    )
    assert said.err.endswith("where TOKEN is what GATEWAY_ADMIN_TOKEN holds.\n")
    assert "not-it" not in said.err


@pytest.mark.parametrize("command", [("status",), ("restore", "all"), ("kill", "all", "--reason", "x")])
def test_without_a_gateway_one_line_says_where_it_was_looked_for(here: Home, command: tuple[str, ...]) -> None:
    said = here.run(*command, GATEWAY_ADMIN_LISTEN="127.0.0.1:1")
    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "tool-gateway: admin plane not reachable at 127.0.0.1:1 (connection refused): is the gateway running, and is"
        " GATEWAY_ADMIN_LISTEN the same here as there?\n"
    )


def test_without_a_token_one_line_says_how_one_is_found(here: Home) -> None:
    environ = {name: value for name, value in here.environ.items() if name != "GATEWAY_ADMIN_TOKEN"}
    said = Home(here.folder, environ).run("status")
    assert said.code == 2
    assert said.err.startswith("tool-gateway: no admin token: run this where var/admin_token of the gateway is")


def test_server_and_command_line_share_the_token_file_of_init(tmp_path: Path, sockets: Path, here: Home) -> None:
    environ = {name: value for name, value in here.environ.items() if name != "GATEWAY_ADMIN_TOKEN"}
    home = Home(here.folder, environ)
    assert home.run("init").code == 0
    with home.serving():
        assert home.run("status").code == 0


def test_bad_settings_stop_a_command_as_they_stop_the_server(here: Home) -> None:
    for command in ("serve", "status"):
        said = here.run(command, GATEWAY_LISTN="x")
        assert (said.code, said.out) == (2, "")
        assert said.err == (
            "tool-gateway: GATEWAY_LISTN: no such variable; the nearest is GATEWAY_LISTEN (expects host:port, [v6]:port or"
            " unix:/path)\n"
        )
