from gateway.policy.candidate import changes, promoted
from gateway.policy.compile import compile_candidate, compile_policy
from gateway.policy.compiled import CompiledPolicy
from gateway.policy.document.problems import Findings, Mark, Place
from gateway.policy.document.yaml_loader import load
from gateway.policy.plans.given import Given
from gateway.policy.schema.sections import Policy
from gateway.policy.schema.validate import read_candidate, read_policy
from gateway.policy.secrets import Reference

GIVEN = Given(secrets={Reference("env", "TOKEN"): "a-token-of-the-tests"})
LIVE = """
tools:
  allowlist: [search.read, notes.write]
  definitions: {search.read: {effect: read, upstream: search, rate: {per_second: 5}}}
upstreams: {search: {url: "http://a.example"}, notes: {url: "http://b.example"}}
runs: {identify_by_trace: true}
agents: {default: {allowlist: []}, billing: {token: "${env:TOKEN}", allowlist: [search.read]}}
"""


def live() -> CompiledPolicy:
    document = load(LIVE.encode(), "policy.yaml")
    compiled, problems = compile_policy(read_policy(document), document, GIVEN)
    assert compiled is not None, problems
    return CompiledPolicy(compiled)


def policy(text: str) -> Policy:
    read = read_policy(load(text.encode(), "policy.yaml"))
    assert read.value is not None, read.problems
    return read.value


def laid_over(text: str) -> CompiledPolicy:
    document = load(text.encode(), "candidate.yaml")
    compiled, problems = compile_candidate(read_candidate(document), document, GIVEN, live().compiled)
    assert compiled is not None, problems
    return CompiledPolicy(compiled, live())


def test_a_section_takes_the_place_of_the_whole_live_one_and_the_others_stay() -> None:
    candidate = laid_over("tools: {allowlist: [search.read]}")
    assert not candidate.plan("default", "search.read").allowed, "agents.default has an allowlist of its own"
    assert candidate.plan("billing", "search.read").allowed
    assert candidate.plan("billing", "search.read").effect == "write", "its definition went with the section"
    assert set(candidate.upstreams) == {"search", "notes"}


def test_who_calls_and_for_which_run_stays_as_it_is() -> None:
    candidate = laid_over("{agents: {default: {}, billing: {denylist: [notes.*]}}, runs: {anonymous: deny}}")
    assert candidate.agent_of_token("a-token-of-the-tests") == "billing"
    assert candidate.agents_with_token == {"billing"}
    assert candidate.identify_by_trace
    assert candidate.plan("billing", "search.read").anonymous == "deny"


def test_what_it_sends_elsewhere_or_slower_is_kept_apart_from_live_runs() -> None:
    elsewhere = laid_over('upstreams: {search: {url: "http://c.example"}, notes: {url: "http://b.example"}}')
    assert {name: plan.name for name, plan in elsewhere.upstreams.items()} == {
        "search": "search (candidate)",
        "notes": "notes",
    }
    assert elsewhere.plan("billing", "search.read").queue == "search.read (candidate)"
    assert elsewhere.plan("billing", "notes.write").queue == "notes.write"
    slower = laid_over(
        "tools: {definitions: {search.read: {effect: read, upstream: search, rate: {per_second: 1}}, notes.write: {effect: read}}}"
    )
    assert slower.plan("billing", "search.read").queue == "search.read (candidate)"
    assert slower.plan("billing", "notes.write").queue == "notes.write", "it lines up as before"
    assert live().plan("billing", "search.read").queue == "search.read"


def test_an_upstream_whose_breaker_alone_differs_has_one_of_its_own() -> None:
    candidate = laid_over(
        'upstreams: {search: {url: "http://a.example", circuit_breaker: {failures: 2}}, notes: {url: "http://b.example"}}'
    )
    assert candidate.upstreams["search"].name == "search (candidate)"
    assert candidate.upstreams["search"].key == live().upstreams["search"].key, "the connections are the same"


def test_without_a_change_its_version_is_the_live_one() -> None:
    assert laid_over("{}").version == live().version
    assert laid_over("egress: {allow_hosts: []}").version == live().version
    assert laid_over("egress: {allow_hosts: [a.example]}").version != live().version


def test_changes_are_keys_without_their_values() -> None:
    before = Policy()
    after = policy("upstreams: {search: {url: 'http://a.example/hunter2'}}\ntools: {timeouts_ms: {default: 1}}")
    assert changes(before, after) == ("tools.timeouts_ms.default", "upstreams.search")
    assert changes(after, after) == ()


def test_of_many_changes_the_first_twenty_are_named() -> None:
    many = ", ".join(f"t{n:02}: {{effect: read}}" for n in range(30))
    told = changes(Policy(), policy(f"tools: {{definitions: {{{many}}}}}"))
    assert (len(told), told[0], told[-1]) == (21, "tools.definitions.t00", "… and 10 more")


def test_laying_over_changes_neither_of_the_two() -> None:
    before, other = live().compiled.policy(), policy("agents: {default: {}, billing: {}}")
    promoted(before, other, Findings("candidate.yaml", Mark(Place(1, 1))))
    assert before == live().compiled.policy()
    assert other == policy("agents: {default: {}, billing: {}}")
