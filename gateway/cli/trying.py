"""`rollout status` and `rollout rollback`: how a candidate policy fares, and its end."""

from collections.abc import Iterable, Mapping

import click

from gateway.cli.client import ask
from gateway.cli.operating import who
from gateway.cli.output import accepted, asks_the_gateway, print_json

_STATES = {
    "none": "no candidate.yaml: every run lives under the policy",
    "refused": "candidate.yaml is refused: every run lives under the policy",
    "shadow": "candidate.yaml is judged in shadow: every run lives under the policy",
    "canary": "candidate.yaml is tried",
    "rolled_back": "candidate.yaml is rolled back: every run lives under the policy until its content changes",
}


@click.group(
    epilog="""\b
A candidate is the file candidate.yaml beside policy.yaml; the section `rollout` of policy.yaml says how it is tried.
Promoting it is writing what it says into policy.yaml and removing it.
"""
)
def rollout() -> None:
    """Tell how a candidate policy fares, or end its trial."""


@rollout.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
@asks_the_gateway
def status(as_json: bool) -> None:
    """Tell how the candidate fares beside the policy.

    Calls and errors of both sides over the last five minutes, and on which calls the two differ. Exits 0 whenever the gateway answers.
    """
    body = accepted(ask("GET", "/v1/rollout"))
    if as_json:
        print_json(body)
    else:
        click.echo("\n".join(_lines(body)))


@rollout.command(
    epilog="""\b
Example:
  tool-gateway rollout rollback --reason "tickets are closed twice"
"""
)
@click.option("--reason", required=True, help="Why. The log is told.")
@click.option("--json", "as_json", is_flag=True, help="Print the gateway's answer as JSON.")
@asks_the_gateway
def rollback(reason: str, as_json: bool) -> None:
    """End the candidate's trial: every run lives under the policy from now on, until the content of candidate.yaml changes.

    Exits 1 where no candidate is on trial.
    """
    body = accepted(ask("POST", "/v1/rollout", {"action": "rollback", "reason": reason, "who": who()}))
    if as_json:
        print_json(body)
        return
    click.echo("\n".join(_lines(body)))
    click.echo(f"Reach: {body['reach']}.")


def _lines(body: Mapping[str, object]) -> Iterable[str]:
    yield _STATES.get(str(body["state"]), str(body["state"]))
    problems = body["problems"]
    if isinstance(problems, list):
        yield from (f"  refused    {line}" for line in problems)
    live, candidate, back = (_section(body, name) for name in ("live", "candidate", "rolled_back"))
    if candidate:
        yield f"share        {body['canary_percent']:g} % of the runs, since {candidate['since']}"
        yield f"candidate    {candidate['version']}: {_figures(candidate)}"
        yield f"policy       {live['version']}: {_figures(live)}"
        margin, least = body["rollback_on_error_rate"], body["min_calls"]
        yield f"limit        {margin:g} errors a call more than the policy, once both have {least} calls in five minutes"
        yield from (f"  changes    {key}" for key in _list(candidate, "changes"))
        yield from (f"  warning    {line}" for line in _list(candidate, "warnings"))
        yield from (f"  calls      {word} {count}" for word, count in _section(body, "differences").items())
    if back:
        yield f"rolled back  {back['version']} at {back['at']} by {back['who']}: {back['reason']}"
        yield f"candidate    {_figures(_section(back, 'candidate'))}"
        yield f"policy       {_figures(_section(back, 'live'))}"


def _figures(side: Mapping[str, object]) -> str:
    return f"{side['errors']} errors in {side['calls']} calls"


def _section(body: Mapping[str, object], name: str) -> Mapping[str, object]:
    found = body.get(name)
    return found if isinstance(found, dict) else {}


def _list(body: Mapping[str, object], name: str) -> list[object]:
    found = body.get(name)
    return found if isinstance(found, list) else []
