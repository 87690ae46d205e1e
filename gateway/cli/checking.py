"""`check` and `schema`: is a policy in order, and what may one say?"""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from gateway.admin.views import View
from gateway.cli.judged import judge, settings_here
from gateway.cli.output import print_json, progress
from gateway.place import state_shared
from gateway.policy.snapshot import Snapshot
from gateway.policy.source import Checked
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.cli.reaching import Reached


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


def _reached(snapshot: Snapshot, settings: Settings) -> "list[Reached]":
    from gateway.cli.reaching import reach_all  # with all that connections need

    with ExitStack() as stack:
        return asyncio.run(reach_all(snapshot, settings, lambda n: stack.enter_context(progress("reaching", n))))


def _check_lines(path: str, checked: Checked, reached: "list[Reached]", shared: str | None) -> Iterator[str]:
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


@click.command()
def schema() -> None:
    """Print the policy's JSON Schema, for editors.

    \b
    A policy file names it in its first lines:
      # yaml-language-server: $schema=.schema.json
    """
    from gateway.policy.schema.json_schema import json_schema

    print_json(json_schema())
