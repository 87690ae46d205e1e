"""`check`, `explain` and `schema`: what a policy says, without changing anything."""

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import click

from gateway.admin.views import View, explanation_view
from gateway.cli import choices
from gateway.cli.client import Unreachable, ask, query
from gateway.cli.judged import judge, settings_here
from gateway.cli.output import CannotError, NoError, accepted, print_json, progress
from gateway.cli.reaching import Reached, reach_all
from gateway.guards.explain import explain as explain_call
from gateway.model import Moment
from gateway.place import state_shared
from gateway.policy.snapshot import Snapshot
from gateway.policy.source import Checked
from gateway.settings import Settings
from gateway.state.counts import Counts
from gateway.state.switches import Switches


@click.command(
    epilog="""\b
Examples:
  tool-gateway check
  tool-gateway check policies/read-only --json
  tool-gateway check --without-secrets      (in CI, where no secret is mounted)
  tool-gateway check --connect              (from where the gateway will run)
"""
)
@click.argument("path", required=False, type=click.Path())
@click.option("--connect", is_flag=True, help="Also resolve, connect and handshake every upstream and allowed host.")
@click.option("--without-secrets", is_flag=True, help="Do not read ${env:…} and ${file:…}.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def check(path: str | None, connect: bool, without_secrets: bool, as_json: bool) -> None:
    """Validate a policy folder or file.

    PATH is what GATEWAY_POLICY names unless given. Exits 1 where the gateway would refuse it, or where --connect finds
    something out of reach.
    """
    settings = settings_here()
    path = path or settings.policy
    checked = judge(path, settings, without_secrets=without_secrets)
    snapshot = checked.snapshot
    reached = _reached(snapshot, settings) if connect and snapshot is not None else []
    if as_json:
        print_json(
            {
                "ok": snapshot is not None and all(problem is None for _, problem in reached),
                "path": path,
                "version": snapshot.version if snapshot else None,
                "problems": list(checked.problems),
                "warnings": list(checked.warnings),
                "overrides": list(snapshot.overrides) if snapshot else [],
                "candidate": _candidate_view(checked),
                "state": state_shared(settings.state),
                "reach": [{"target": target, "problem": problem} for target, problem in reached],
            }
        )
    else:
        for line in _check_lines(path, checked, reached, state_shared(settings.state)):
            click.echo(line)
    if snapshot is None or any(problem for _, problem in reached):
        raise SystemExit(1)


def _reached(snapshot: Snapshot, settings: Settings) -> list[Reached]:
    with ExitStack() as stack:
        return asyncio.run(reach_all(snapshot, settings, lambda n: stack.enter_context(progress("reaching", n))))


def _check_lines(path: str, checked: Checked, reached: list[Reached], shared: str | None) -> Iterator[str]:
    yield from checked.problems
    yield from (f"warning: {warning}" for warning in checked.warnings)
    if checked.candidate is not None:
        yield from (f"warning: candidate: {warning}" for warning in checked.candidate.warnings)
    snapshot = checked.snapshot
    if snapshot is None:
        return
    yield from (f"override: {override}" for override in snapshot.overrides)
    if shared:
        yield f"state: {shared}"
    mode = " (mode: report)" if snapshot.report else ""
    yield f"{path}: ok, version {snapshot.version}{mode}"
    if checked.candidate is not None:
        percent = snapshot.rollout.canary_percent
        share = f"for {percent:g} % of the runs" if percent else "in shadow only (rollout.canary_percent is 0)"
        yield f"candidate.yaml: ok, version {checked.candidate.snapshot.version}, {share}"
        yield from (f"candidate.yaml changes {key}" for key in checked.candidate.changes)
    yield from (f"{target}: {problem or 'reached'}" for target, problem in reached)


def _candidate_view(checked: Checked) -> View | None:
    if checked.candidate is None or checked.snapshot is None:
        return None
    return {
        "version": checked.candidate.snapshot.version,
        "canary_percent": checked.snapshot.rollout.canary_percent,
        "changes": list(checked.candidate.changes),
        "warnings": list(checked.candidate.warnings),
    }


@click.command(
    epilog="""\b
Examples:
  tool-gateway explain --agent billing-agent --tool search.read
  tool-gateway explain --agent default --tool notes.write --args '{"text": "hello"}' --run r1
  tool-gateway explain --agent default --tool http.connect --args '{"url": "api.example.com:443"}'
"""
)
@click.option(
    "--agent",
    required=True,
    shell_complete=choices.agents,
    help="The agent that would call; `default` for callers that are not identified.",
)
@click.option("--tool", required=True, shell_complete=choices.tools, help="The tool it would call.")
@click.option(
    "--args", "arguments", metavar="JSON", help="The call's arguments, to ask the tool's schema, or where it may go."
)
@click.option("--run", help="The run it would call in, to ask its budgets.")
@click.option("--policy", metavar="PATH", type=click.Path(), help="Ask this policy rather than the running gateway.")
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
def explain(agent: str, tool: str, arguments: str | None, run: str | None, policy: str | None, as_json: bool) -> None:
    """Tell which rule decides a call, and why. Nothing is called or counted.

    Asks the running gateway, whose kill switches and budgets count; where none is in reach, the policy of GATEWAY_POLICY.
    Exits 0 whatever the decision.
    """
    parsed = _parsed(arguments)
    view = None if policy else _explained_by_gateway(agent, tool, arguments, run)
    if view is None:
        view = _explained_by_policy(policy, agent, tool, parsed, run)
    if as_json:
        print_json(view)
        return
    for line in _explain_lines(view):
        click.echo(line)


@click.command()
def schema() -> None:
    """Print the policy's JSON Schema, for editors.

    \b
    A policy file names it in its first lines:
      # yaml-language-server: $schema=.schema.json
    """
    from gateway.policy.schema.json_schema import json_schema

    print_json(json_schema())


def _parsed(arguments: str | None) -> object:
    try:
        return None if arguments is None else json.loads(arguments)
    except (ValueError, RecursionError):
        raise CannotError('--args is not JSON: quote it for the shell, as in --args \'{"q": "x"}\'') from None


def _explained_by_gateway(agent: str, tool: str, arguments: str | None, run: str | None) -> View | None:
    given = {"agent": agent, "tool": tool, "args": arguments, "run": run}
    try:
        answer = ask("GET", "/v1/explain?" + query(given))
    except Unreachable:
        return None
    return {**accepted(answer), "asked": "the running gateway"}


def _explained_by_policy(path: str | None, agent: str, tool: str, arguments: object, run: str | None) -> View:
    settings = settings_here()
    path = path or settings.policy
    checked = judge(path, settings, without_secrets=True)
    if checked.snapshot is None:
        raise NoError(f"{path} is refused, so it decides nothing: tool-gateway check {path} tells why")
    now = Moment(time.monotonic(), time.time())
    counts = Counts(settings.max_in_flight, switches=Switches(checked.snapshot.switches))
    plan = checked.snapshot.plan(agent, tool)
    try:
        explanation = explain_call(agent, tool, arguments, run or "", plan, counts, now)
    except ValueError as error:
        raise CannotError(f"--args: the url is not taken: {error}") from None
    return {**explanation_view(explanation, checked.snapshot.version, counts_known=False), "asked": path}


def _way_out(view: View) -> str:
    """Of a built-in tool. To be allowed here is not all: no name is looked up for this."""
    if view["destination"] is None:
        return """built in; --args '{"url": …}' asks about a target"""
    return f"built in, to {view['destination']}, whose address is judged when it is dialled (public, or in egress.allow_private)"


def _explain_lines(view: View) -> Iterator[str]:
    plan = view["plan"]
    assert isinstance(plan, dict)  # noqa: S101  # for the type checker: explanation_view makes it one
    word = {"allow": "ALLOWED", "deny": "DENIED", "report": "ALLOWED (mode: report)"}[str(view["decision"])]
    yield f"{word}: {plan['tool']} for {plan['agent']}"
    if view["reason"]:
        yield f"reason     {view['reason']} (guard {view['decided_by']})"
    if view["detail"]:
        yield f"detail     {view['detail']}"
    yield f"rule       {plan['rule']}"
    yield f"effect     {plan['effect']}"
    upstream = plan["upstream"]
    yield f"upstream   {upstream['url'] + plan['path'] if upstream else _way_out(view) if plan['builtin'] else 'none'}"
    retries = plan["retries"]
    again = "also after it was sent" if retries["after_it_was_sent"] else "only while nothing was sent, or after 429"
    yield f"timeouts   {plan['timeout_ms']} ms an attempt, {plan['deadline_ms']} ms in all"
    yield f"retries    {retries['max']}, {again}"
    budgets = plan["budgets"]
    yield (
        f"budgets    {budgets['max_steps']} steps, {budgets['max_tool_calls']} tool calls, {budgets['max_seconds']:g} s a run"
    )
    yield from _limit_lines(plan)
    counts = "" if view["counts_known"] else " (kill switches set at run time and what a run has used are not known)"
    yield f"asked      {view['asked']}, version {view['policy']}{counts}"


def _limit_lines(plan: dict[str, Any]) -> Iterator[str]:
    """What there is of limits beside the run's budgets; nothing where there is none."""
    budgets, agent, pace, cost = plan["budgets"], plan["agent_limits"], plan["pace"], plan["cost_usd"]
    if cost:
        yield f"cost       {cost:,.15g} USD a call"
    lines = {
        "a run": (
            (budgets["max_usd"], "{:,.15g} USD"),
            (budgets["max_calls"], "{} calls of this tool"),
            (budgets["max_identical_calls"], "{} times the very same call"),
        ),
        "an agent": (
            (agent["max_actions_per_hour"], "{} calls an hour"),
            (agent["max_spend_usd_per_day"], "{:,.15g} USD a day"),
            (agent["max_calls_per_tool"], "{} calls of this tool a day"),
            (agent["max_started_per_hour"], "{} runs started an hour"),
        ),
        "the tool": (
            (pace["per_second"], f"{{:,.15g}} a second (burst {pace['burst']})"),
            (pace["max_concurrency"], "{} at work at once"),
            (pace["max_waiting"], "{} may wait"),
        ),
    }
    for whose, limits in lines.items():
        told = [words.format(limit) for limit, words in limits if limit is not None]
        if told:
            yield f"{whose:<11}{', '.join(told)}"
