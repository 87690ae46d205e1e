"""`explain` without a gateway: what a policy alone decides, and what is said of what it cannot know."""

import json

import pytest

from tests.cli.alone import GOOD, run, write

pytestmark = pytest.mark.usefixtures("alone")


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
    assert lines[-2].startswith("asked      policies, version ")
    assert lines[-2].endswith("(kill switches set at run time and what a run has used are not known)")
    assert lines[-1].startswith("not asked  the running gateway: ")


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
    budgets = lines.index(next(line for line in lines if line.startswith("budgets")))
    assert lines[budgets + 1 : budgets + 5] == [
        "cost       0.01 USD a call",
        "a run      0.05 USD, 3 calls of this tool, 5 times the very same call",
        "an agent   40 calls an hour, 2 USD a day, 30 calls of this tool a day, 6000 runs started an hour",
        "the tool   0.5 a second (burst 10), 2 at work at once, 100 may wait",
    ]


def test_explain_leaves_out_limits_that_there_are_none_of() -> None:
    write(GOOD)
    lines = run("explain", "--agent", "scout", "--tool", "search.read").stdout.splitlines()
    assert "an agent   6000 runs started an hour" in lines
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


LIMITED = """tools:
  allowlist: [search.read]
  definitions:
    search.read:
      effect: read
      arguments: {type: object, required: [q]}
runs:
  anonymous: deny
  max_identical_calls: 5
agents:
  billing:
    denylist: ["search.*"]
  default: {}
upstreams: {default: {url: 'http://127.0.0.1:9'}}
"""


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (
            ["--agent", "x", "--tool", "search.read", "--run", "r"],
            'tools.allowlist: "search.read" (policies/policy.yaml:2)',
        ),
        (["--agent", "x", "--tool", "other"], "no entry of tools.allowlist (policies/policy.yaml:2)"),
        (
            ["--agent", "billing", "--tool", "search.read"],
            'agents.billing.denylist: "search.*" (policies/policy.yaml:12)',
        ),
        (["--agent", "x", "--tool", "search.read"], "runs.anonymous (policies/policy.yaml:8)"),
        (
            ["--agent", "x", "--tool", "search.read", "--args", "{}"],
            "tools.definitions.search.read.arguments (policies/policy.yaml:6)",
        ),
    ],
)
def test_the_rule_that_decides_is_named_with_its_line(arguments: list[str], rule: str) -> None:
    write(LIMITED)
    said = run("explain", *arguments)
    assert (said.exit_code, said.stderr) == (0, "")
    assert f"\nrule       {rule}\n" in said.stdout


def test_every_guard_is_told_in_order_with_what_it_says_or_why_it_cannot() -> None:
    write(LIMITED)
    said = run("explain", "--agent", "x", "--tool", "search.read", "--run", "r1")
    lines = said.stdout.splitlines()
    guards = [line.split(maxsplit=1) for line in lines[lines.index("guards     in their order") + 1 : -2]]
    names = [name for name, _ in guards]
    assert names[:4] == ["kill_switch", "draining", "overloaded", "loop_detected"]
    assert names.index("arguments") < names.index("tool_calls") < names.index("rate")
    cannot = {name: words for name, words in guards if words != "passes"}
    assert cannot == {
        "loop_detected": "cannot tell: only a call that is made can be the same as an earlier one",
        "arguments": "cannot tell: no arguments were given",
        "steps": "cannot tell: which step it announces (Agent-Step) was not given",
    }
    denied = run("explain", "--agent", "x", "--tool", "search.read", "--args", "{}").stdout
    assert (
        "  arguments                objects: arguments_not_allowed (tools.definitions.search.read.arguments)\n"
        in denied
    )
    assert "  run                      objects: run_id_required (runs.anonymous)\n" in denied
    view = json.loads(run("explain", "--agent", "x", "--tool", "search.read", "--json").stdout)
    assert (view["rule"], view["key"], view["place"]) == (
        "runs.anonymous",
        ["runs", "anonymous"],
        "policies/policy.yaml:8",
    )
    assert (view["used"], view["counts_known"]) == (None, False)


def test_a_default_stands_in_no_line() -> None:
    write(GOOD + "kill_switch: {disable_writes: true}\n")
    said = run("explain", "--agent", "x", "--tool", "search.read", "--json")
    view = json.loads(said.stdout)
    assert (view["rule"], view["place"]) == ("kill switch writes (policy, by policy.yaml)", None)
