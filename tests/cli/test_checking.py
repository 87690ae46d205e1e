"""`check` and `schema`, and commands that are called the wrong way."""

import json
import socket

import pytest

from tests.cli.alone import GOOD, run, write

pytestmark = pytest.mark.usefixtures("alone")


def test_a_good_policy_is_0_with_its_version_and_warnings() -> None:
    write(GOOD)
    said = run("check")
    assert (said.exit_code, said.stderr) == (0, "")
    warning, ok = said.stdout.splitlines()
    assert warning.startswith("warning: search.read: effect undeclared, treated as write")
    assert ok.startswith("policies: ok, version ")


def test_a_bad_policy_is_1_with_a_line_for_each_problem() -> None:
    write("tools: {allowlst: []}\nmode: strict\n", "other")
    said = run("check", "other")
    assert said.exit_code == 1
    assert [line.partition(": ")[0] for line in said.stdout.splitlines()] == [
        "policy.yaml:1:9 tools.allowlst",
        "policy.yaml:2:1 mode",
    ]


def test_check_json_says_the_same() -> None:
    write("mode: strict\n")
    said = run("check", "--json")
    result = json.loads(said.stdout)
    assert (said.exit_code, result["ok"], result["version"], len(result["problems"])) == (1, False, None, 1)


def test_check_says_what_each_gateway_of_a_fleet_has_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOOD)
    assert "state: " not in run("check").stdout
    monkeypatch.setenv("GATEWAY_STATE", "valkey://gateway:hunter2@cache:6379/0")
    (line,) = [line for line in run("check").stdout.splitlines() if line.startswith("state: ")]
    assert line.startswith("state: all gateways on valkey://cache:6379/0 share agents' limits")
    assert "N times as much: rate, max_concurrency, circuit_breaker" in line
    assert json.loads(run("check", "--json").stdout)["state"] == line.removeprefix("state: ")


def test_secrets_are_asked_for_unless_told_otherwise() -> None:
    write(GOOD + "agents: {a: {token: '${env:NOWHERE_TOKEN}'}, default: {}}\n")
    assert run("check").exit_code == 1
    assert run("check", "--without-secrets").exit_code == 0


def test_the_environment_that_overrides_the_policy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOOD + "runtime: {env: {AGENT_MAX_STEPS: 7}}\n")
    monkeypatch.setenv("AGENT_MAX_STEPS", "9")
    assert "override: AGENT_MAX_STEPS: the environment's 9 overrides runtime.env's 7" in run("check").stdout


def test_a_fixed_agent_that_the_policy_does_not_name_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    write(GOOD + "agents: {billing: {max_actions_per_hour: 5}, default: {allowlist: []}}\n")
    for fixed in ("billing", "default-agent"):
        monkeypatch.setenv("GATEWAY_AGENT_ID", fixed)
        assert ("GATEWAY_AGENT_ID" in run("check").stdout) is (fixed != "billing")
    monkeypatch.setenv("GATEWAY_AGENT_ID", "biling")
    assert (
        "warning: GATEWAY_AGENT_ID=biling is no agent of this policy, so its calls are judged like those of nobody known,"
        ' did you mean "billing"?\n' in run("check").stdout
    )
    write(GOOD + "agents: {default: {allowlist: []}}\n")
    assert "GATEWAY_AGENT_ID" not in run("check").stdout


def test_connect_tells_what_is_reached_and_what_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        write(
            f"upstreams: {{up: {{url: 'http://127.0.0.1:{port}'}}, down: {{url: 'http://127.0.0.1:1'}}}}\n"
            f"egress: {{allow_hosts: ['127.0.0.1'], ports: [{port}], allow_private: ['127.0.0.1/32']}}\n"
        )
        said = run("check", "--connect")
    assert said.exit_code == 1
    up, down, host = said.stdout.splitlines()[-3:]
    assert up == "upstreams.up: reached"
    assert down.startswith("upstreams.down: upstream down refused the connection")
    assert down.endswith("start it, open the network from here, or correct upstreams.down")
    assert host == f"egress.allow_hosts 127.0.0.1 port {port}: reached"


@pytest.mark.parametrize(
    ("policy", "ends"),
    [
        (
            "egress: {allow_hosts: ['127.0.0.1'], ports: [81]}\n",
            (
                "egress.allow_hosts 127.0.0.1 port 81: 127.0.0.1 port 81 may not be reached: it does not lead to a public address, and"
                " egress.allow_private does not list it; list 127.0.0.1/32 in egress.allow_private if agents may go there, else take it"
                " out of egress.allow_hosts"
            ),
        ),
        (
            "egress: {allow_hosts: [localhost], ports: [81]}\n",
            ("; list its address (a block such as 10.1.2.3/32) in egress.allow_private if agents may go there, else take it out of"
            " egress.allow_hosts"),
        ),
        (
            "egress: {allow_hosts: ['127.0.0.1'], ports: [8080], allow_private: ['127.0.0.1/32']}\n",
            ": it is the gateway itself, which is called directly, without a proxy (NO_PROXY); take it out of egress.allow_hosts",
        ),
        (
            "upstreams: {up: {url: 'http://no-such-name.invalid'}}\n",
            "; correct the name in upstreams.up, or have it resolved from here",
        ),
    ],
)  # fmt: skip
def test_connect_says_what_to_do_about_what_is_out_of_reach(policy: str, ends: str) -> None:
    write(policy)
    said = run("check", "--connect")
    assert said.exit_code == 1
    assert said.stdout.splitlines()[-1].endswith(ends)


def test_connect_is_0_where_all_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        write(f"upstreams: {{up: {{url: 'http://127.0.0.1:{listening.getsockname()[1]}'}}}}\n")
        assert run("check", "--connect").exit_code == 0


def test_the_schema_is_json_schema() -> None:
    said = run("schema")
    assert said.exit_code == 0
    assert json.loads(said.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize(
    "command", ["serve", "check", "explain", "kill", "restore", "status", "schema", "init", "demo"]
)
def test_every_command_has_help(command: str) -> None:
    said = run(command, "--help")
    assert said.exit_code == 0
    assert said.stdout.startswith(f"Usage: tool-gateway {command}") or said.stdout.startswith("Usage: commands")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["kill"], "tool-gateway: Missing argument 'SCOPE'. See commands kill --help.\n"),
        (["frob"], "tool-gateway: No such command 'frob'. See commands --help.\n"),
        (["kill", "all", "--reason", "x", "--for", "3w"], ("tool-gateway: Invalid value for '--for': expected a duration such as"
         " 90s, 15m, 1h or 2d, up to 366d. See commands kill --help.\n")),
    ],
)  # fmt: skip
def test_a_command_called_the_wrong_way_is_2_and_one_line(arguments: list[str], line: str) -> None:
    said = run(*arguments)
    assert (said.exit_code, said.stdout, said.stderr) == (2, "", line)
