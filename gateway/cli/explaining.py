"""`explain`: which rule decides a call, asked of the running gateway, or of a policy alone."""

import json
import time
from collections.abc import Iterator
from typing import Any

import click

from gateway.cli import choices
from gateway.cli.client import Unreachable, ask, query
from gateway.cli.output import CannotError, NoError, accepted, print_json

View = dict[str, Any]


@click.command(
    epilog="""\b
Examples:
  tool-gateway explain --agent billing-agent --tool search.read
  tool-gateway explain --agent default --tool notes.write --args '{"text": "hello"}' --run r1
  tool-gateway explain --agent default --tool http.connect --args '{"url": "api.example.com:443"}'
  tool-gateway explain --agent default --tool search.read --policy policies/new     (needs no gateway)
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
@click.option(
    "--policy",
    metavar="PATH",
    type=click.Path(),
    help="Ask this policy rather than the running gateway: all counts are 0.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
def explain(agent: str, tool: str, arguments: str | None, run: str | None, policy: str | None, as_json: bool) -> None:
    """Tell which rule decides a call, and why. Nothing is called or counted.

    Asks the running gateway, whose kill switches and budgets count; where none is in reach, the policy of GATEWAY_POLICY.
    Exits 0 whatever the decision.
    """
    parsed = _parsed(arguments)
    why_not = "--policy was given"
    view = None
    if policy is None:
        try:
            view = _by_gateway(agent, tool, arguments, run)
        except Unreachable as error:
            why_not = str(error)
    if view is None:
        view = {**_by_policy(policy, agent, tool, parsed, run), "gateway_not_asked": why_not}
    if as_json:
        print_json(view)
    else:
        click.echo("\n".join(_lines(view)))


def _parsed(arguments: str | None) -> object:
    try:
        return None if arguments is None else json.loads(arguments)
    except (ValueError, RecursionError):
        raise CannotError('--args is not JSON: quote it for the shell, as in --args \'{"q": "x"}\'') from None


def _by_gateway(agent: str, tool: str, arguments: str | None, run: str | None) -> View:
    """Raises Unreachable."""
    given = {"agent": agent, "tool": tool, "args": arguments, "run": run}
    answer = accepted(ask("GET", "/v1/explain?" + query(given)))
    return {**answer, "place": None, "asked": "the running gateway", "gateway_not_asked": None}


def _by_policy(path: str | None, agent: str, tool: str, arguments: object, run: str | None) -> View:
    """Imported here: of a policy a gateway that runs knows more, and its answer needs none of this."""
    from gateway.admin.views import explanation_view
    from gateway.cli.judged import judge, place_of, settings_here
    from gateway.guards.explain import explain as explain_call
    from gateway.model import Moment
    from gateway.state.counts import Counts
    from gateway.state.switches import Switches

    settings = settings_here()
    path = path or settings.policy
    snapshot = judge(path, settings, without_secrets=True).snapshot
    if snapshot is None:
        raise NoError(f"{path} is refused, so it decides nothing: tool-gateway check {path} tells why")
    now = Moment(time.monotonic(), time.time())
    counts = Counts(settings.max_in_flight, switches=Switches(snapshot.switches))
    try:
        explanation = explain_call(agent, tool, arguments, run or "", snapshot.plan(agent, tool), counts, now)
    except ValueError as error:
        raise CannotError(f"--args: the url is not taken: {error}") from None
    view = explanation_view(explanation, snapshot)
    return {**view, "place": place_of(path, view["key"]), "asked": path}


def _lines(view: View) -> Iterator[str]:
    plan = view["plan"]
    word = {"allow": "ALLOWED", "deny": "DENIED", "report": "ALLOWED (mode: report)"}[str(view["decision"])]
    yield f"{word}: {plan['tool']} for {plan['agent']}"
    if view["reason"]:
        yield f"reason     {view['reason']} (guard {view['decided_by']})"
    if view["detail"]:
        yield f"detail     {view['detail']}"
    place = f" ({view['place']})" if view["place"] else ""
    yield f"rule       {view['rule'] or '-'}{place}"
    yield f"effect     {plan['effect']}"
    upstream = plan["upstream"]
    yield f"upstream   {upstream['url'] + plan['path'] if upstream else _way_out(view) if plan['builtin'] else 'none'}"
    retries = plan["retries"]
    again = "also after it was sent" if retries["after_it_was_sent"] else "only while nothing was sent, or after 429"
    yield f"timeouts   {plan['timeout_ms']} ms an attempt, {plan['deadline_ms']} ms in all"
    yield f"retries    {retries['max']}, {again}"
    yield from _limit_lines(plan)
    yield from _used_lines(view)
    yield "guards     in their order"
    yield from map(_guard_line, view["guards"])
    counts = "" if view["counts_known"] else " (kill switches set at run time and what a run has used are not known)"
    yield f"asked      {view['asked']}, version {view['policy']}{counts}"
    if view["gateway_not_asked"]:
        yield f"not asked  the running gateway: {view['gateway_not_asked']}"


def _guard_line(guard: View) -> str:
    if guard["objects"]:
        rule = f" ({guard['rule']})" if guard["rule"] else ""
        return f"  {guard['guard']:<24} objects: {guard['reason']}{rule}"
    return f"  {guard['guard']:<24} " + (f"cannot tell: {guard['unasked']}" if guard["unasked"] else "passes")


def _way_out(view: View) -> str:
    """Of a built-in tool. To be allowed here is not all: no name is looked up for this."""
    if view["destination"] is None:
        return """built in; --args '{"url": …}' asks about a target"""
    return f"built in, to {view['destination']}, whose address is judged when it is dialled (public, or in egress.allow_private)"


def _limit_lines(plan: View) -> Iterator[str]:
    """The run's budgets, and what there is of other limits."""
    budgets, agent, pace, cost = plan["budgets"], plan["agent_limits"], plan["pace"], plan["cost_usd"]
    yield (
        f"budgets    {budgets['max_steps']} steps, {budgets['max_tool_calls']} tool calls, {budgets['max_seconds']:g} s a run"
    )
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


def _used_lines(view: View) -> Iterator[str]:
    """How the budgets stand now."""
    used = view["used"]
    if used is None:
        return
    run, agent = used["run"], used["agent"]
    if run is None:
        yield "run now    it has not begun"
    else:
        so_far, of = run["used"], run["limits"]
        told = [
            f"{so_far['tool_calls']} of {of['tool_calls']} tool calls",
            f"{so_far['steps'] or 0} of {of['steps']} steps",
        ]
        told.append(f"{so_far['seconds']:.0f} of {of['seconds']:g} s")
        told += [f"{so_far['usd']:,.15g} of {of['usd']:,.15g} USD"] if "usd" in of else []
        ends = f"; it ended: {run['stop_reason']}" if run["stop_reason"] and not run["live"] else ""
        yield f"run now    {', '.join(told)}{ends}"
    limited = (
        ("actions_this_hour", "calls this hour"),
        ("usd_today", "USD today"),
        ("runs_started_this_hour", "runs started this hour"),
    )
    told = [_of(agent[key], what) for key, what in limited if agent[key]["limit"] is not None]
    tool = view["plan"]["tool"]
    told += [_of(agent["calls_today"][tool], "calls of this tool today")] if tool in agent["calls_today"] else []
    yield f"agent now  {', '.join(told)}"


def _of(count: View, what: str) -> str:
    return f"{count['used']:,.15g} of {count['limit']:,.15g} {what}"
