from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Budgets, Effect, KillSwitch, Scope, Source
from gateway.policy.plans.given import Given
from gateway.policy.secrets import Reference
from gateway.policy.snapshot import Retries
from tests.unit.policy.policy_texts import compiled, judged, said

SAFE_DEFAULT = (Path(__file__).parents[3] / "policies" / "safe-default" / "policy.yaml").read_text("utf-8")
BASE = Given(upstream="http://tools.internal:9000/base")


def test_the_safe_default_serves_its_tools_below_gateway_upstream() -> None:
    plan = compiled(SAFE_DEFAULT, BASE).plan("default", "search.read")
    assert plan.upstream is not None
    assert (plan.upstream.origin, plan.upstream.base_path) == ("http://tools.internal:9000", "/base")
    assert (plan.path, plan.takes_rest, plan.methods, plan.effect) == ("/search.read", False, None, Effect.WRITE)
    assert (plan.timeout, plan.deadline) == (8.0, 25.0)
    assert plan.retries == Retries(2, (0.2, 0.8), frozenset([429, 502, 503, 504]))
    assert plan.budgets == Budgets(25, 12, 60.0)
    assert (plan.max_request_bytes, plan.max_response_bytes) == (1 << 20, 10 << 20)
    assert (plan.allowed, plan.rule) == (True, 'tools.allowlist: "search.read"')


def test_what_no_allowlist_names_is_not_allowed() -> None:
    plan = compiled(SAFE_DEFAULT, BASE).plan("default", "shell.exec")
    assert (plan.allowed, plan.rule) == (False, "no allowlist entry")


def test_http_get_is_built_in_and_reads_whatever_the_default_upstream() -> None:
    plan = compiled(SAFE_DEFAULT, BASE).plan("default", "http.get")
    assert (plan.builtin, plan.upstream, plan.missing, plan.effect) == (True, None, None, Effect.READ)


def test_each_method_of_the_egress_door_is_a_tool_that_writes_unless_it_only_reads() -> None:
    snapshot = compiled('tools: {allowlist: ["http.*"]}', BASE)
    plans = [snapshot.plan("default", f"http.{name}") for name in ("head", "post", "delete", "connect")]
    assert all(plan.allowed and plan.builtin and plan.upstream is None for plan in plans)
    assert [plan.effect for plan in plans] == [Effect.READ, Effect.WRITE, Effect.WRITE, Effect.WRITE]


def test_no_other_http_tool_exists() -> None:
    plan = compiled('tools: {allowlist: ["http.*"]}', BASE).plan("default", "http.brew")
    assert (plan.allowed, plan.builtin, plan.upstream) == (True, False, None)
    assert plan.missing == "a tool of that name: http.* are built in, one for each method that the egress door takes"


def test_a_tool_without_an_upstream_names_the_key_that_would_give_it_one() -> None:
    assert compiled(SAFE_DEFAULT).plan("default", "search.read").missing == "tools.definitions.search.read.upstream"


@pytest.mark.parametrize(
    ("patterns", "tool", "allowed", "rule"),
    [
        ("allowlist: ['a.*'], denylist: ['a.b']", "a.b", False, 'tools.denylist: "a.b"'),
        ("allowlist: ['a.b'], denylist: ['a.*']", "a.b", False, 'tools.denylist: "a.*"'),
        ("allowlist: ['*', 'a.*']", "a.b.c", True, 'tools.allowlist: "a.*"'),
        ("allowlist: ['a.*']", "a", False, "no allowlist entry"),
        ("allowlist: ['*']", "anything", True, 'tools.allowlist: "*"'),
    ],
)
def test_a_denylist_refuses_however_specific_the_allow(patterns: str, tool: str, allowed: bool, rule: str) -> None:
    plan = compiled(f"tools: {{{patterns}}}").plan("default", tool)
    assert (plan.allowed, plan.rule) == (allowed, rule)


AGENTS = """
tools: {allowlist: [search.read, notes.write], denylist: ["shell.*"]}
agents:
  own: {allowlist: [notes.write, shell.exec], denylist: [notes.delete]}
  less: {denylist: [notes.write]}
  default: {allowlist: []}
"""


@pytest.mark.parametrize(
    ("agent", "tool", "allowed", "rule"),
    [
        ("own", "notes.write", True, 'agents.own.allowlist: "notes.write"'),
        ("own", "search.read", False, "no allowlist entry"),
        ("own", "shell.exec", False, 'tools.denylist: "shell.*"'),
        ("own", "notes.delete", False, 'agents.own.denylist: "notes.delete"'),
        ("less", "search.read", True, 'tools.allowlist: "search.read"'),
        ("less", "notes.write", False, 'agents.less.denylist: "notes.write"'),
        ("default", "search.read", False, "no allowlist entry"),
        ("nobody", "search.read", False, "no allowlist entry"),
    ],
)
def test_an_agents_allowlist_replaces_and_its_denylist_adds(agent: str, tool: str, allowed: bool, rule: str) -> None:
    plan = compiled(AGENTS).plan(agent, tool)
    assert (plan.agent, plan.allowed, plan.rule) == (agent, allowed, rule)


def test_budgets_are_built_in_then_policy_then_environment_then_agent() -> None:
    snapshot = compiled(
        """
        runtime: {env: {AGENT_MAX_STEPS: 30, AGENT_MAX_TOOL_CALLS: 20}}
        agents: {big: {budgets: {AGENT_MAX_TOOL_CALLS: 40}}, default: {}}
        """,
        Given(budgets={"AGENT_MAX_TOOL_CALLS": 15}),
    )
    assert snapshot.budgets("default") == Budgets(30, 15, 60.0)
    assert snapshot.budgets("nobody") == Budgets(30, 15, 60.0)
    assert snapshot.budgets("big") == snapshot.plan("big", "any").budgets == Budgets(30, 40, 60.0)
    assert snapshot.overrides == ("AGENT_MAX_TOOL_CALLS: the environment's 15 overrides runtime.env's 20",)


def test_an_environment_that_says_the_same_overrides_nothing() -> None:
    assert compiled(SAFE_DEFAULT, Given(budgets={"AGENT_MAX_STEPS": 25})).overrides == ()


def test_gateway_upstream_wins_over_the_policys_default_and_both_are_named_without_their_paths() -> None:
    snapshot = compiled("upstreams: {default: {url: 'http://other', headers: {X-Team: blue}}}", BASE)
    assert snapshot.upstreams["default"].origin == "http://tools.internal:9000"
    assert snapshot.upstreams["default"].headers == (("X-Team", "blue"),)
    assert snapshot.overrides == (
        "GATEWAY_UPSTREAM: the environment's http://tools.internal:9000/… overrides upstreams.default.url's http://other",
    )


def test_a_bad_gateway_upstream_is_a_problem_that_does_not_repeat_it() -> None:
    snapshot, problems = judged("tools: {}", Given(upstream="http://u:hunter2@x"))
    assert snapshot is None
    assert problems[0].startswith("policy.yaml:1:1 GATEWAY_UPSTREAM: expected a URL without user-info")
    assert "hunter2" not in str(problems)


@pytest.mark.parametrize(
    ("tool", "seconds"), [("a", 7.0), ("b.x", 2.0), ("b.c.x", 3.0), ("b.y", 4.0), ("b.z", 5.0), ("default", 7.0)]
)
def test_timeouts_come_weakest_first(tool: str, seconds: float) -> None:
    snapshot = compiled(
        """
        tools:
          timeouts_ms: {default: 7000, "b.*": 2000, "b.c.*": 3000, b.y: 4000, b.z: 4000}
          definitions: {b.z: {timeout_ms: 5000}}
        """
    )
    assert snapshot.plan("default", tool).timeout == seconds


def test_timeouts_without_a_default_keep_the_built_in_one() -> None:
    assert compiled("tools: {timeouts_ms: {a: 1}}").plan("default", "b").timeout == 8.0


@pytest.mark.parametrize(
    ("definition", "deadline"),
    [
        ("{}", 25.0),
        ("{timeout_ms: 1000}", 4.0),
        ("{retries: {max: 3}}", 33.8),
        ("{retries: {max: 0}}", 8.0),
        ("{deadline_ms: 500}", 0.5),
        ("{retries: {backoff_ms: []}}", 24.0),
    ],
)
def test_the_deadline_is_what_all_attempts_and_waits_may_take(definition: str, deadline: float) -> None:
    snapshot = compiled(f"tools: {{definitions: {{a: {definition}}}}}")
    assert snapshot.plan("default", "a").deadline == pytest.approx(deadline)


@pytest.mark.parametrize(
    ("definition", "methods"),
    [
        ("{effect: write}", None),
        ("{effect: read}", {"GET", "HEAD", "POST"}),
        ("{route: 'GET /a'}", {"GET", "HEAD"}),
        ("{route: 'PUT /a', effect: read}", {"PUT"}),
        ("{route: 'ANY /a', effect: read}", None),
        ("{methods: [GET, POST]}", {"GET", "HEAD", "POST"}),
        ("{methods: [DELETE]}", {"DELETE"}),
    ],
)
def test_methods_follow_the_route_or_the_effect(definition: str, methods: set[str] | None) -> None:
    assert compiled(f"tools: {{definitions: {{a: {definition}}}}}").plan("default", "a").methods == methods


@pytest.mark.parametrize(
    ("definition", "path", "takes_rest"),
    [
        ("{}", "/a", False),
        ("{path: /q}", "/q", False),
        ("{upstream: u}", "", True),
        ("{upstream: u, path: /q}", "/q", False),
        ("{upstream: u, path: '/q/{rest*}'}", "/q", True),
        ("{upstream: u, path: '/{rest*}'}", "", True),
        ("{route: 'GET /r'}", "/a", False),
    ],
)
def test_a_rest_is_taken_only_where_the_tool_is_a_whole_upstream_or_says_so(
    definition: str, path: str, takes_rest: bool
) -> None:
    text = f"{{tools: {{definitions: {{a: {definition}}}}}, upstreams: {{u: {{url: 'http://u'}}}}}}"
    plan = compiled(text, Given(upstream="http://d")).plan("default", "a")
    assert (plan.path, plan.takes_rest) == (path, takes_rest)
    assert plan.upstream is not None
    assert plan.upstream.name == ("u" if "upstream" in definition else "default")


def test_a_tools_own_retries_leave_out_what_they_do_not_say() -> None:
    snapshot = compiled(
        "tools: {retries: {max: 5, backoff_ms: [10], on_status: [500]}, definitions: {a: {retries: {max: 1}}, b: {}}}"
    )
    assert snapshot.plan("default", "a").retries == Retries(1, (0.01,), frozenset([500]))
    assert snapshot.plan("default", "b").retries == Retries(5, (0.01,), frozenset([500]))


TOKENS = "{agents: {a: {token: '${env:A}'}, b: {token: '${file:/run/b}'}, default: {allowlist: []}}}"
SECRETS = {Reference("env", "A"): "token-of-a", Reference("file", "/run/b"): "token-of-b"}


def test_an_agent_is_found_by_its_token_alone() -> None:
    snapshot = compiled(TOKENS, Given(secrets=SECRETS))
    assert snapshot.agent_of_token("token-of-a") == "a"
    assert snapshot.agent_of_token("token-of-b") == "b"
    assert snapshot.agent_of_token("") is None
    assert snapshot.agent_of_token("token-of-") is None
    assert snapshot.agent_of_token("\udcff") is None
    assert snapshot.agents_with_token == {"a", "b"}
    assert snapshot.knows_agent("default")
    assert not snapshot.knows_agent("nobody")


def test_a_rotated_secret_changes_the_headers_but_not_the_version() -> None:
    text = "{upstreams: {u: {url: 'http://u', headers: {Authorization: 'Bearer ${env:A}'}}}}"
    before = compiled(text, Given(secrets=SECRETS))
    after = compiled(text, Given(secrets={Reference("env", "A"): "rotated"}))
    assert before.upstreams["u"].headers == (("Authorization", "Bearer token-of-a"),)
    assert after.upstreams["u"].headers == (("Authorization", "Bearer rotated"),)
    assert before.upstreams["u"].key != after.upstreams["u"].key
    assert before.version == after.version
    assert "token-of-a" not in repr(before.upstreams) + repr(before) + repr(Given(secrets=SECRETS))


def test_without_secrets_references_stay_as_written() -> None:
    assert compiled(TOKENS, Given(secrets=None)).agent_of_token("${env:A}") is None


def test_a_changed_tls_file_makes_another_upstream() -> None:
    text = "{upstreams: {u: {url: 'https://u', tls: {ca_file: /ca.pem}}}}"
    before, after = (compiled(text, Given(digests={"/ca.pem": digest})) for digest in ("one", "two"))
    assert before.upstreams["u"].key != after.upstreams["u"].key


@pytest.mark.parametrize(
    "same",
    [
        "# another comment\n" + SAFE_DEFAULT,
        SAFE_DEFAULT + "mode: enforce\n",
        "\n".join(reversed(SAFE_DEFAULT.strip().splitlines()[-2:])) + "\n" + "\n".join(SAFE_DEFAULT.splitlines()[:-2]),
    ],
)
def test_the_version_hangs_on_what_the_policy_means(same: str) -> None:
    version = compiled(SAFE_DEFAULT).version
    assert len(version) == 12
    assert compiled(same).version == version


@pytest.mark.parametrize("other", [Given(upstream="http://x"), Given(budgets={"AGENT_MAX_STEPS": 3})])
def test_the_version_tells_environments_apart(other: Given) -> None:
    assert compiled(SAFE_DEFAULT, other).version != compiled(SAFE_DEFAULT).version


def test_the_version_changes_with_a_single_limit() -> None:
    assert compiled(SAFE_DEFAULT.replace("8000", "8001")).version != compiled(SAFE_DEFAULT).version


@given(
    st.permutations(["mode: report", "tools: {allowlist: [b, a]}", "runs: {anonymous: deny}", "egress: {ports: [443]}"])
)
def test_the_order_of_sections_means_nothing(sections: list[str]) -> None:
    one, other = compiled("\n".join(sections)), compiled("\n".join(sorted(sections)))
    assert one.version == other.version
    assert said(one.plan("default", "a")) == said(other.plan("default", "a"))


def test_kill_switches_of_the_policy_carry_reason_and_expiry() -> None:
    snapshot = compiled(
        """
        kill_switch:
          disable_all: true
          disable_writes: true
          disable_tools: ["notes.*"]
          disable_agents: [old]
          disable_runs: [r, a/r]
          reason: cleaning
          until: 2026-01-31T13:00:00+01:00
          cancel_in_flight: true
        """,
        Given(now=5.0),
    )
    scopes = [Scope("all"), Scope("writes"), Scope("tool", "notes.*"), Scope("agent", "old"), Scope("run", "r")]
    scopes.append(Scope("run", "a/r"))
    until = 1769860800.0
    assert snapshot.switches == tuple(
        KillSwitch(scope, "cleaning", "policy.yaml", 5.0, until, True, Source.POLICY) for scope in scopes
    )


@pytest.mark.parametrize("text", ["2026-02-30T00:00:00Z", "2026-01-01", "2026-01-01T00:00:00"])
def test_an_impossible_or_placeless_time_is_refused(text: str) -> None:
    snapshot, problems = judged(f"kill_switch: {{until: '{text}'}}")
    assert snapshot is None
    assert "expected a time like" in problems[0]


def test_egress_hosts_are_sorted_into_what_a_look_up_needs() -> None:
    snapshot = compiled(
        'egress: {allow_hosts: ["API.Example.com.", "*.wikipedia.org", "192.0.2.1", "bücher.example"], allow_private: ["fd00::/8"]}'
    )
    egress = snapshot.plan("default", "http.get").egress
    assert egress.hosts == {"api.example.com", "192.0.2.1", "xn--bcher-kva.example"}
    assert egress.suffixes == {"wikipedia.org"}
    assert not egress.any_host
    assert egress.ports == {443, 80}
    assert egress.allow_private == ("fd00::/8",)
    assert compiled('egress: {allow_hosts: ["*"]}').plan("default", "http.get").egress.any_host


def test_report_mode_and_anonymous_runs_reach_every_plan() -> None:
    snapshot = compiled("{mode: report, runs: {anonymous: deny, identify_by_trace: true}}")
    plan = snapshot.plan("nobody", "nothing")
    assert (snapshot.report, plan.report, plan.anonymous, snapshot.identify_by_trace) == (True, True, "deny", True)


@given(
    st.sampled_from(["default", "own", "nobody"]), st.sampled_from(["search.read", "made.up", "http.get", "shell.x"])
)
def test_a_plan_that_was_kept_says_what_a_fresh_one_says(agent: str, tool: str) -> None:
    kept = compiled(AGENTS, BASE)
    kept.plan(agent, tool)
    assert said(kept.plan(agent, tool)) == said(compiled(AGENTS, BASE).plan(agent, tool))


def test_the_spelled_out_names_are_told() -> None:
    snapshot = compiled(AGENTS + "kill_switch: {}\n", replace(BASE, now=1.0))
    assert snapshot.tools() == ("notes.delete", "notes.write", "search.read", "shell.exec")
    assert snapshot.agents() == ("default", "less", "own")
