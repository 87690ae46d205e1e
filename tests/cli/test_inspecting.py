"""`check`, `explain` without a gateway, and `schema`."""

import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli.commands import commands

GOOD = "tools: {allowlist: [search.read]}\nupstreams: {default: {url: 'http://127.0.0.1:9'}}\n"


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests, and no gateway in reach."""
    for name in os.environ:
        if name.startswith(("GATEWAY_", "AGENT_MAX_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_ADMIN_LISTEN", f"unix:{tmp_path}/none.sock"[:100])
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(commands, arguments)


def write(text: str, folder: str = "policies") -> None:
    Path(folder).mkdir(exist_ok=True)
    (Path(folder) / "policy.yaml").write_text(text)


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


@pytest.mark.parametrize(
    ("arguments", "first"),
    [
        (["--tool", "search.read"], "ALLOWED: search.read for scout"),
        (["--tool", "shell.run"], "DENIED: shell.run for scout"),
    ],
)
def test_explain_without_a_gateway_asks_the_policy_and_says_what_it_cannot_know(
    arguments: list[str], first: str
) -> None:
    write(GOOD)
    said = run("explain", "--agent", "scout", *arguments)
    lines = said.stdout.splitlines()
    assert (said.exit_code, lines[0]) == (0, first)
    assert lines[-1].startswith("asked      policies, version ")
    assert lines[-1].endswith("(kill switches set at run time and what a run has used are not known)")


def test_explain_knows_the_kill_switches_of_the_policy() -> None:
    write(GOOD + "kill_switch: {disable_tools: [search.read], reason: freeze}\n")
    said = run("explain", "--agent", "scout", "--tool", "search.read", "--json")
    assert (json.loads(said.stdout)["decision"], json.loads(said.stdout)["reason"]) == ("deny", "kill_switch")


def test_explain_tells_every_limit_that_there_is() -> None:
    write("""
tools:
  allowlist: [search.read]
  definitions:
    search.read: {effect: read, cost_usd: 0.01, max_calls: 3, rate: {per_second: 0.5, burst: 10}, max_concurrency: 2}
upstreams: {default: {url: 'http://127.0.0.1:9'}}
runs: {max_usd: 0.05, max_identical_calls: 5}
agents:
  billing: {max_actions_per_hour: 40, max_spend_usd_per_day: 2, max_calls_per_tool: {"search.*": 30}}
  default: {}
""")
    lines = run("explain", "--agent", "billing", "--tool", "search.read").stdout.splitlines()
    assert lines[-5:-1] == [
        "cost       0.01 USD a call",
        "a run      0.05 USD, 3 calls of this tool, 5 times the very same call",
        "an agent   40 calls an hour, 2 USD a day, 30 calls of this tool a day, 6000 runs started an hour",
        "the tool   0.5 a second (burst 10), 2 at work at once, 100 may wait",
    ]


def test_explain_leaves_out_limits_that_there_are_none_of() -> None:
    write(GOOD)
    lines = run("explain", "--agent", "scout", "--tool", "search.read").stdout.splitlines()
    assert lines[-2] == "an agent   6000 runs started an hour"
    assert not [line for line in lines if line.startswith(("cost", "a run", "the tool"))]


def test_explain_judges_arguments_where_they_are_given() -> None:
    write(
        GOOD.replace("allowlist", "definitions: {search.read: {arguments: {type: object, required: [q]}}}, allowlist")
    )
    base = ("explain", "--agent", "scout", "--tool", "search.read")
    assert run(*base).stdout.startswith("ALLOWED")
    assert "reason     arguments_not_allowed" in run(*base, "--args", "{}").stdout
    assert run(*base, "--args", '{"q": 1}').stdout.startswith("ALLOWED")
    refused = run(*base, "--args", "{")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("tool-gateway: --args is not JSON")


WAYS_OUT = """
tools: {allowlist: ["http.get", "http.post", "http.connect"], definitions: {http.post: {arguments: {required: [n]}}}}
egress: {allow_hosts: ["api.example.com"]}
"""


@pytest.mark.parametrize(
    ("tool", "url", "said"),
    [
        ("http.get", "https://api.example.com/x", "ALLOWED"),
        ("http.post", "http://API.example.com:80/x", "ALLOWED"),
        ("http.connect", "api.example.com:443", "ALLOWED"),
        ("http.connect", "https://api.example.com/", "ALLOWED"),
        ("http.get", "https://evil.example/x", "evil.example port 443"),
        ("http.post", "http://api.example.com:8080/", "egress.ports"),
        ("http.connect", "evil.example:443", "egress.allow_hosts"),
    ],
)
def test_explain_tells_where_a_built_in_tool_may_go(tool: str, url: str, said: str) -> None:
    write(WAYS_OUT)
    found = run("explain", "--agent", "scout", "--tool", tool, "--args", json.dumps({"url": url}))
    assert (found.exit_code, found.stderr) == (0, "")
    assert said in found.stdout
    assert ("egress_not_allowed" in found.stdout) == (said != "ALLOWED")


def test_explain_says_that_it_looks_no_address_up() -> None:
    write(WAYS_OUT)
    url = "https://api.example.com/x?key=hunter2"
    asked = run("explain", "--agent", "scout", "--tool", "http.get", "--args", json.dumps({"url": url}))
    assert "to api.example.com:443, whose address is judged when it is dialled" in asked.stdout
    assert "hunter2" not in asked.stdout
    assert "--args" in run("explain", "--agent", "scout", "--tool", "http.get").stdout


def test_explain_takes_no_url_that_no_door_would() -> None:
    write(WAYS_OUT)
    for tool, url in (("http.get", "http://hunter2@api.example.com/"), ("http.connect", "api.example.com")):
        found = run("explain", "--agent", "scout", "--tool", tool, "--args", json.dumps({"url": url}))
        assert (found.exit_code, found.stdout) == (2, "")
        assert "--args: the url is not taken: " in found.stderr
        assert "hunter2" not in found.stderr


def test_a_refused_policy_explains_nothing() -> None:
    write("mode: strict\n")
    said = run("explain", "--agent", "a", "--tool", "b")
    assert (said.exit_code, said.stderr) == (
        1,
        "tool-gateway: policies is refused, so it decides nothing: tool-gateway check policies tells why\n",
    )


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
