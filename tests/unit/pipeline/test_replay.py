"""Recorded calls under another policy: what is denied, allowed or unknown, and what each counts."""

from collections.abc import Iterable
from typing import Any

import pytest

from gateway.denial import Reason
from gateway.model import Door, Effect, KillSwitch, RunKey, Scope, Source
from gateway.pipeline.recorded import Happened, Recorded, RunEnded, Switched, in_order
from gateway.pipeline.replay import Replay, Replayed
from gateway.policy.snapshot import Snapshot
from tests.unit.policy.policy_texts import compiled

NOON = 1_700_000_000.0
CALL = Recorded(
    at=NOON,
    refused=False,
    ended=NOON + 0.1,
    call_id="c",
    run=RunKey("default", "r1"),
    tool="search.read",
    door=Door.TOOL_PATH,
    effect=Effect.READ,
    args_hash="h",
    reason=Reason.OK,
    reported=None,
    cost=0,
    policy="another",
    unsent=False,
    target=None,
)
OPEN = """
tools: {allowlist: ["*"], definitions: {search.read: {effect: read}}}
upstreams: {default: {url: "http://127.0.0.1:9"}}
"""


def a_call(seconds: float = 0.0, run: str = "r1", agent: str = "default", **changes: Any) -> Recorded:
    at = NOON + seconds
    ended = at + changes.pop("lasted", 0.1)
    return CALL._replace(at=at, ended=ended, run=RunKey(agent, run), **changes)


def refused(reason: Reason, seconds: float = 0.0, **changes: Any) -> Recorded:
    return a_call(seconds, refused=True, reason=reason, lasted=0.0, **changes)


def replayed(policy: str | Snapshot, happened: Iterable[Happened], was: Snapshot | None = None) -> list[Replayed]:
    replay, told = Replay(compiled(policy) if isinstance(policy, str) else policy, was), []
    for what in in_order(happened):
        match what:
            case Recorded():
                told.append(replay.call(what))
            case RunEnded():
                replay.ended(what)
            case Switched():
                replay.switched(what)
    return told


def denied(policy: str | Snapshot, happened: Iterable[Happened]) -> list[str | None]:
    return [None if one.denial is None else one.denial.reason.value for one in replayed(policy, happened)]


def rules(policy: str, happened: Iterable[Happened]) -> list[str]:
    return [one.rule for one in replayed(policy, happened)]


BUDGET_OF_2 = "runtime: {env: {AGENT_MAX_TOOL_CALLS: 2}}\n" + OPEN


def test_a_budget_admits_exactly_what_it_says_and_is_each_runs_own() -> None:
    calls = [a_call(n / 10, run=run) for n in range(4) for run in ("r1", "r2")]
    told = denied(BUDGET_OF_2, calls)
    assert told == [None, None, None, None, *["max_tool_calls"] * 4]
    assert rules(BUDGET_OF_2, calls)[-1] == "runtime.env.AGENT_MAX_TOOL_CALLS, or the environment's"


def test_time_is_the_recordings() -> None:
    calls = [a_call(0), a_call(59.9), a_call(60), a_call(3600)]
    assert denied(OPEN, calls) == [None, None, "max_seconds", "max_seconds"]
    windows = [call._replace(run=RunKey("default", "")) for call in calls]
    assert denied(OPEN, windows) == [None] * 4


def test_a_run_that_nobody_calls_any_more_ends_in_its_own_time_and_is_forgotten_a_day_after() -> None:
    day = 24 * 3600
    assert denied(OPEN, [a_call(0), a_call(day)]) == [None, "max_seconds"]
    assert denied(OPEN, [a_call(0), a_call(day + 180)]) == [None, None]


def test_lines_come_in_the_order_of_ends_and_are_judged_in_that_of_starts() -> None:
    slow, quick = a_call(0, call_id="slow", lasted=50.0), a_call(1, call_id="quick")
    policy = BUDGET_OF_2.replace("2}", "1}")
    assert [(one.call.call_id, one.denial is None) for one in replayed(policy, [quick, slow])] == [
        ("slow", True),
        ("quick", False),
    ]


def test_what_was_refused_and_would_pass_now_is_charged_now() -> None:
    calls = [refused(Reason.TOOL_NOT_ALLOWED, n / 10) for n in range(3)]
    assert denied(BUDGET_OF_2, calls) == [None, None, "max_tool_calls"]


def test_what_was_never_sent_gives_its_charge_back_when_it_ended() -> None:
    unsent = a_call(0, reason=Reason.UPSTREAM_FAILED, unsent=True, lasted=2.0)
    policy = BUDGET_OF_2.replace("2}", "1}")
    assert denied(policy, [unsent, a_call(2.5)]) == [None, None]
    assert denied(policy, [unsent, a_call(1.5)]) == [None, "max_tool_calls"]
    assert denied(policy, [unsent._replace(unsent=False), a_call(2.5)]) == [None, "max_tool_calls"]


LIMITS = """
tools:
  allowlist: ["*"]
  definitions: {search.read: {effect: read, max_calls: 2, cost_usd: 0.3}, notes.write: {cost_usd: 0.4}}
runs: {max_usd: 1.0, max_identical_calls: 3}
agents:
  hourly: {max_actions_per_hour: 2}
  daily: {max_spend_usd_per_day: 0.5}
  picky: {max_calls_per_tool: {search.read: 1}}
  own: {budgets: {AGENT_MAX_TOOL_CALLS: 1}}
  default: {}
upstreams: {default: {url: "http://127.0.0.1:9"}}
"""


@pytest.mark.parametrize(
    ("calls", "last", "rule"),
    [
        ([a_call(n, args_hash=f"{n}") for n in range(3)], "max_calls", "tools.definitions.search.read.max_calls"),
        ([a_call(n, tool="notes.write", args_hash=f"{n}") for n in range(3)], "max_usd", "runs.max_usd"),
        ([a_call(n, tool="other") for n in range(4)], "loop_detected", "runs.max_identical_calls"),
        ([a_call(n, agent="hourly", run=f"{n}") for n in range(3)], "max_actions_per_hour", "agents.hourly.max_actions_per_hour"),
        ([a_call(n, agent="daily", run=f"{n}") for n in range(2)], "max_spend_usd_per_day", "agents.daily.max_spend_usd_per_day"),
        ([a_call(n, agent="picky", run=f"{n}") for n in range(2)], "max_calls_per_tool", "agents.picky.max_calls_per_tool"),
        ([a_call(n, agent="own") for n in range(2)], "max_tool_calls", "agents.own.budgets.AGENT_MAX_TOOL_CALLS"),
    ],
)  # fmt: skip
def test_each_limit_refuses_the_call_after_the_last_and_names_its_key(
    calls: list[Recorded], last: str, rule: str
) -> None:
    assert denied(LIMITS, calls) == [None] * (len(calls) - 1) + [last]
    assert rules(LIMITS, calls)[-1] == rule


def test_an_hour_later_the_agent_has_its_actions_again() -> None:
    calls = [a_call(at, agent="hourly", run=f"{at}") for at in (0, 1, 2, 3602)]
    assert denied(LIMITS, calls) == [None, None, "max_actions_per_hour", None]


def test_the_callers_price_counts_at_the_governed_door_alone() -> None:
    dear: dict[str, Any] = {"cost": 900_000, "tool": "other"}
    policy = LIMITS.replace("max_identical_calls: 3", "max_identical_calls: 0")
    assert denied(policy, [a_call(n, **dear) for n in range(2)]) == [None, None]
    assert denied(policy, [a_call(n, door=Door.GOVERNED, **dear) for n in range(2)]) == [None, "max_usd"]


SCHEMA = OPEN.replace("effect: read", "effect: read, arguments: {type: object}, max_calls: 2")


def test_what_arguments_decide_is_unknown_and_counts_as_it_was_recorded() -> None:
    first, second, third, fourth = replayed(
        SCHEMA, [a_call(0), refused(Reason.ARGUMENTS_NOT_ALLOWED, 1), a_call(2), a_call(3)]
    )
    assert (first.unknown, second.unknown, third.unknown) == ("arguments", "arguments", "arguments")
    assert fourth.denial is not None
    assert (fourth.denial.reason, fourth.unknown) == (Reason.MAX_CALLS, None)


def test_under_the_very_policy_they_were_recorded_with_arguments_are_known() -> None:
    policy = compiled(SCHEMA)
    allowed, no = replayed(
        policy, [a_call(policy=policy.version), refused(Reason.ARGUMENTS_NOT_ALLOWED, 1, policy=policy.version)]
    )
    assert (allowed.unknown, allowed.denial) == (None, None)
    assert no.denial is not None
    assert (no.unknown, no.denial.reason, no.rule) == (
        None,
        "arguments_not_allowed",
        "tools.definitions.search.read.arguments",
    )


def test_where_the_recordings_policy_had_the_same_schema_its_word_is_known() -> None:
    was = compiled(SCHEMA)
    told = [
        a_call(0, policy=was.version),
        refused(Reason.ARGUMENTS_NOT_ALLOWED, 1, policy=was.version),
        refused(Reason.MAX_CALLS, 2, policy=was.version),
        refused(Reason.TOOL_NOT_ALLOWED, 3, policy=was.version),
        a_call(4, policy="an older one"),
    ]

    def words(policy: str) -> list[str | None]:
        return [one.denial.reason if one.denial else one.unknown for one in replayed(policy, told, was)]

    same = SCHEMA.replace("max_calls: 2", "max_calls: 9")
    assert words(same) == [None, "arguments_not_allowed", None, "arguments", "arguments"]
    assert words(same.replace("{type: object}", "{type: array}")) == ["arguments"] * 5


def test_a_schema_that_only_reported_refuses_once_it_is_enforced() -> None:
    was = compiled("mode: report\n" + SCHEMA)
    reported = a_call(policy=was.version, reported=Reason.ARGUMENTS_NOT_ALLOWED)
    [one] = replayed(SCHEMA, [reported], was)
    assert (one.denial and one.denial.reason, one.reported) == ("arguments_not_allowed", None)
    [one] = replayed(was, [reported])
    assert (one.denial, one.reported, one.unknown) == (None, "arguments_not_allowed", None)


def test_repeating_what_arguments_refuse_is_a_loop_too() -> None:
    policy = compiled(SCHEMA.replace("max_calls: 2", "max_identical_calls: 2"))
    no = [refused(Reason.ARGUMENTS_NOT_ALLOWED, n, policy=policy.version) for n in range(2)]
    assert denied(policy, [*no, refused(Reason.LOOP_DETECTED, 2, policy=policy.version)])[-1] == "loop_detected"


EGRESS = 'tools: {allowlist: ["http.*"]}\negress: {allow_hosts: [api.example.com]}\n'


@pytest.mark.parametrize(
    ("tool", "target", "said"),
    [
        ("http.get", None, "destination"),
        ("http.get", "https://api.example.com:443/x", None),
        ("http.get", "https://evil.example:443/x", "egress_not_allowed"),
        ("http.connect", "evil.example:443", "egress_not_allowed"),
        ("http.get", "[REDACTED]", "destination"),
    ],
)
def test_where_a_call_went_is_known_of_sampled_lines_alone(tool: str, target: str | None, said: str | None) -> None:
    [one] = replayed(EGRESS, [a_call(tool=tool, target=target)])
    assert (one.denial.reason if one.denial else one.unknown) == said


@pytest.mark.parametrize(
    "reason", ["draining", "overloaded", "circuit_open", "unauthenticated", "invalid_request", "request_too_large"]
)
def test_what_no_policy_decides_is_refused_again_and_not_charged(reason: str) -> None:
    policy = BUDGET_OF_2.replace("2}", "1}")
    first, second = replayed(policy, [refused(Reason(reason)), a_call(1)])
    assert (first.again, first.denial, second.denial) == (True, None, None)


@pytest.mark.parametrize(("reason", "cause"), [("max_steps", "steps"), ("rate_limited", "rate")])
def test_what_the_log_does_not_hold_is_unknown(reason: str, cause: str) -> None:
    [one] = replayed(OPEN, [refused(Reason(reason))])
    assert (one.unknown, one.denial) == (cause, None)


def test_a_repeated_answer_is_charged_nothing() -> None:
    policy = BUDGET_OF_2.replace("2}", "1}")
    assert denied(policy, [a_call(0), a_call(1, reason=Reason.DEDUP)]) == [None, None]
    assert denied("tools: {}\n", [a_call(1, reason=Reason.DEDUP)]) == ["tool_not_allowed"]


def test_a_run_that_was_finished_or_stopped_stays_so() -> None:
    run = RunKey("default", "r1")
    finished = RunEnded(NOON + 1, run, "finish", stopped=False)
    stopped = finished._replace(stop_reason="kill_switch", stopped=True)
    assert denied(OPEN, [a_call(0), finished, a_call(2)]) == [None, "run_finished"]
    assert denied(OPEN, [a_call(0), stopped, a_call(2)]) == [None, "kill_switch"]


def test_operators_stops_hold_as_long_as_they_did_and_the_policys_own_are_the_new_ones() -> None:
    switch = KillSwitch(Scope("tool", "search.*"), "drill", "ops", NOON)
    flips = [Switched(NOON + 1, switch, on=True), Switched(NOON + 3, switch, on=False)]
    calls = [a_call(0), a_call(2), a_call(4)]
    assert denied(OPEN, [*calls, *flips]) == [None, "kill_switch", None]
    assert rules(OPEN, [*calls, *flips])[1] == "kill switch tool:search.* (ops)"
    new = OPEN + "kill_switch: {disable_agents: [default]}\n"
    assert denied(new, calls) == ["agent_disabled"] * 3
    assert rules(new, calls)[0] == "kill switch agent:default (policy.yaml)"
    assert Source.RUNTIME is switch.source


def test_report_mode_denies_nothing_and_says_what_it_would() -> None:
    [one] = replayed(
        "mode: report\ntools: {allowlist: []}\nupstreams: {default: {url: 'http://127.0.0.1:9'}}\n", [a_call()]
    )
    assert (one.denial, one.reported, one.rule) == (None, "tool_not_allowed", "no entry of tools.allowlist")


def test_a_server_that_is_trusted_has_said_what_its_tools_do() -> None:
    policy = """
tools: {allowlist: ["hub.*"]}
mcp_servers: {hub: {url: "http://127.0.0.1:9/mcp", trust_annotations: true}}
kill_switch: {disable_writes: true}
"""
    told = denied(policy, [a_call(0, tool="hub.look"), a_call(1, tool="hub.change", effect=Effect.WRITE)])
    assert told == [None, "kill_switch"]


def test_within_a_millisecond_what_was_let_pass_comes_first() -> None:
    policy = BUDGET_OF_2.replace("2}", "1}")
    out_of_calls = refused(Reason.MAX_TOOL_CALLS, 0.0, call_id="second")
    passed = a_call(0.0001, call_id="first")
    assert [one.call.call_id for one in replayed(policy, [out_of_calls, passed]) if one.denial] == ["second"]
