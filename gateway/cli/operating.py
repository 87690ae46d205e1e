"""`kill`, `restore` and `status`: what an operator does to a gateway that runs."""

import getpass
from collections.abc import Iterable, Mapping

import click

from gateway.cli import choices, durations
from gateway.cli.client import ask, query, segment
from gateway.cli.doubts import doubt_of, failure_lines, trouble_lines
from gateway.cli.output import accepted, asks_the_gateway, print_json, shown

_SCOPES = """\b
Scopes:
  all           every call
  writes        tools that write; reads go on
  tool:PATTERN  one tool (tool:search.read), all below a name (tool:shell.*) or every tool (tool:*)
  agent:ID      one agent
  run:ID        every agent's run of that id; run:AGENT/ID for one

The gateway is found by GATEWAY_ADMIN_LISTEN, the token by GATEWAY_ADMIN_TOKEN, GATEWAY_ADMIN_TOKEN_FILE or var/admin_token.
"""


def _seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    try:
        return None if value is None else durations.seconds(value)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


@click.command(
    epilog=_SCOPES
    + """
\b
Examples:
  tool-gateway kill agent:billing-agent --dry-run        (what would it stop?)
  tool-gateway kill all --reason "the agent is deleting tickets"
  tool-gateway kill writes --reason "wiki under attack" --for 1h --cancel-in-flight
"""
)
@click.argument("scope", shell_complete=choices.scopes)
@click.option("--reason", help="Why. Agents and the log are told.  [required]")
@click.option("--for", "for_seconds", callback=_seconds, metavar="90s|15m|1h|2d", help="Lifts itself after that time.")
@click.option("--cancel-in-flight", is_flag=True, help="Also cut calls that are at a tool already; they may have run.")
@click.option("--dry-run", is_flag=True, help="Tell what it would stop just now, and stop nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as JSON.")
@asks_the_gateway
def kill(
    scope: str, reason: str | None, for_seconds: int | None, cancel_in_flight: bool, dry_run: bool, as_json: bool
) -> None:
    """Stop calls now: all, writes, a tool, agent or run."""
    if dry_run:
        _tell_foreseen(scope, cancel_in_flight=cancel_in_flight, as_json=as_json)
        return
    if reason is None:
        raise click.UsageError("Missing option '--reason'.")
    body = {"scope": scope, "reason": reason, "who": who(), "cancel_in_flight": cancel_in_flight}
    if for_seconds is not None:
        body["for_seconds"] = for_seconds
    answer = accepted(ask("POST", "/v1/kill-switches", body))
    if as_json:
        print_json(answer)
        return
    until = f", for {durations.in_words(for_seconds)}" if for_seconds else ", until it is restored"
    click.echo(f"ON: {scope}{until}")
    click.echo(answer["says"])
    click.echo(f"Reach: {answer['reach']}.")
    click.echo(f"Lift it with: tool-gateway restore {scope}")
    doubt = doubt_of(scope)
    if doubt:
        click.echo(f"But: {doubt}")


def _tell_foreseen(scope: str, *, cancel_in_flight: bool, as_json: bool) -> None:
    asked = query({"scope": scope, "cancel_in_flight": "true" if cancel_in_flight else None})
    answer = accepted(ask("GET", f"/v1/blast-radius?{asked}"))
    if as_json:
        print_json(answer)
        return
    click.echo(answer["says"])
    click.echo(
        f"Just now: {answer['runs_in_progress']} runs in progress, {answer['calls_in_flight']} calls in flight,"
        f" {answer['calls_that_end_now']} of them would end at once."
    )
    doubt = doubt_of(scope)
    if doubt:
        click.echo(f"But: {doubt}")


@click.command(epilog=_SCOPES)
@click.argument("scope", shell_complete=choices.held_scopes)
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as JSON.")
@asks_the_gateway
def restore(scope: str, as_json: bool) -> None:
    """Lift a kill switch.

    One that was set with `kill` or the admin API. Exits 1, and names what still holds, where the policy or kill_switch.yaml
    stops the same scope.
    """
    answer = ask("DELETE", f"/v1/kill-switches/{segment(scope)}?{query({'who': who()})}")
    if as_json:
        print_json(answer.body)
    body = accepted(answer)
    if as_json:
        return
    click.echo(f"OFF: {scope}")
    click.echo(f"Reach: {body['reach']}.")
    for other in _objects(body, "still_on"):
        click.echo(f"Still on: {_switch_line(other)}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
@asks_the_gateway
def status(as_json: bool) -> None:
    """Tell how the gateway is, and who is in trouble.

    Policy, kill switches, calls in flight, runs; then what failed lately, which agents fail most or spend fastest, why, and
    the commands that show and stop each. Exits 0 whenever the gateway answers, also while it is degraded.
    """
    body = accepted(ask("GET", "/v1/status"))
    if as_json:
        print_json(body)
    else:
        click.echo("\n".join((*_status_lines(body), *failure_lines(), *trouble_lines(body.get("in_trouble", [])))))


def _status_lines(body: Mapping[str, object]) -> Iterable[str]:
    uptime = body["uptime_seconds"]
    state = "ready" if body["ready"] else str(body["why"])
    up = durations.in_words(uptime if isinstance(uptime, float) else 0)
    code = f" ({body['code']})" if "code" in body else ""  # gateways of before do not say it
    yield f"tool-gateway {body['version']}{code}, {state}, up {up}"
    yield f"data plane   {body['listen']}"
    yield f"admin plane  {body['admin_listen']}"
    policy = body["policy"]
    if isinstance(policy, dict):
        yield f"policy       {policy['version']} from {policy['path']} ({body['mode']})"
        yield from (f"  refused    {line}" for line in policy["rejected"])
        yield from (f"  warning    {line}" for line in policy["warnings"])
        yield from (f"  override   {line}" for line in policy["overrides"])
    candidate = body["candidate"]
    if isinstance(candidate, dict):
        yield f"candidate    {candidate['version']} for {candidate['canary_percent']:g} % of the runs (see tool-gateway rollout status)"
    degraded = body["degraded"]
    yield f"degraded     {', '.join(degraded) if isinstance(degraded, list) and degraded else 'no'}"
    problems = body["problems"]
    if isinstance(problems, list):
        yield from (f"  problem    {shown(str(text))}" for text in problems)
    yield from (f"  {_breaker_line(breaker)}" for breaker in _objects(body, "breakers"))
    yield f"in flight    {body['calls_in_flight']} of {body['max_in_flight']}"
    yield from (f"  {_queue_line(queue)}" for queue in _objects(body, "queues"))
    yield f"live runs    {body['runs_live']}"
    yield from (f"  {line}" for agent in _objects(body, "agents") for line in _use_lines(agent))
    dropped = body["log_dropped"]
    told = [f"{kind} {count}" for kind, count in dropped.items() if count] if isinstance(dropped, dict) else []
    yield f"log dropped  {', '.join(told) or 'nothing'}"
    switches = _objects(body, "kill_switches")
    yield f"kill switches {'' if switches else 'none'}".rstrip()
    yield from (f"  {_switch_line(switch)}" for switch in switches)


def _breaker_line(breaker: Mapping[str, object]) -> str:
    what, wait = "half open, one call at a time probes it", breaker["next_attempt_in_ms"]
    if breaker["state"] == "open" and isinstance(wait, int):
        what = f"left alone for {wait / 1000:.1f} s more"
    return f"upstream {breaker['upstream']}: {what} (circuit_breaker)"


def _queue_line(queue: Mapping[str, object]) -> str:
    seconds = queue["paused_seconds"]
    paused = f", paused by its upstream for {seconds} s" if seconds else ""
    return f"{queue['tool']}: {queue['waiting']} waiting{paused}"


def _use_lines(agent: Mapping[str, object]) -> Iterable[str]:
    """What an agent has used of its limits; nothing where it has none."""
    name, today = agent["agent_id"], agent["calls_today"]
    for key, what in (("actions_this_hour", "actions this hour"), ("usd_today", "USD today")):
        count = agent[key]
        if isinstance(count, dict) and count["limit"] is not None:
            yield f"{name}: {count['used']} of {count['limit']} {what}"
    if isinstance(today, dict):
        yield from (f"{name}: {c['used']} of {c['limit']} calls of {tool} today" for tool, c in today.items())


def _switch_line(switch: Mapping[str, object]) -> str:
    until = f", until {switch['until']}" if switch["until"] else ""
    reason = f": {switch['reason']}" if switch["reason"] else ""
    return f"{switch['scope']}{reason} ({switch['source']}, by {switch['who']}, since {switch['since']}{until})"


def _objects(body: Mapping[str, object], name: str) -> list[dict[str, object]]:
    found = body.get(name)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def who() -> str:
    """For the record only: the token is what counts."""
    try:
        return f"{getpass.getuser()} (command line)"[:100]
    except (KeyError, OSError):
        return "command line"  # a container's user without a name
