"""`simulate`: recorded calls under another policy. What becomes of a call is decided in pipeline/replay.py; here it is counted and told."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from gateway.admin.views import instant
from gateway.cli.findings import EXAMPLES, Findings, Group, beyond_steps, calls_of, findings_view
from gateway.cli.judged import in_order as policy_in_order
from gateway.cli.judged import judge, settings_here
from gateway.cli.output import CannotError, count, print_json, progress, shown
from gateway.cli.recording import Recording
from gateway.pipeline.recorded import Recorded, RunEnded, in_order
from gateway.pipeline.replay import Replay
from gateway.policy.snapshot import Snapshot

_ROWS = 20
_STEP = 1000


@click.command(
    epilog="""\b
Examples:
  tool-gateway simulate policies/new var/calls.log
  tool-gateway simulate policies/new calls.log.2.gz calls.log.1 calls.log --json
  kubectl logs deploy/agent -c gateway | tool-gateway simulate policies/new - --fail-on-change

\b
Not simulated: rate, max_concurrency and circuit_breaker, which depend on how long calls take.
Exit codes: 0 evaluated, 1 with --fail-on-change where a decision changes, 2 it could not be evaluated.
"""
)
@click.argument("policy", metavar="POLICY", type=click.Path())
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.Path(allow_dash=True))
@click.option("--candidate", is_flag=True, help="The candidate.yaml of the folder POLICY, rather than its policy.yaml.")
@click.option(
    "--was",
    metavar="PATH",
    type=click.Path(),
    help="The policy of the recording, if not GATEWAY_POLICY: where rules on arguments are the same in both, what they said is known.",
)
@click.option("--fail-on-change", is_flag=True, help="Exit 1 where a call would now be denied or allowed.")
@click.option("--json", "as_json", is_flag=True, help="Print everything, as JSON.")
def simulate(
    policy: str, logs: tuple[str, ...], candidate: bool, was: str | None, fail_on_change: bool, as_json: bool
) -> None:
    """Tell what a policy would have decided about recorded calls.

    LOG is a log of the gateway, also compressed (.gz), in any order; - reads standard input. The calls are judged and charged once
    more in the order of time, by the rules of POLICY and from empty counts on. Calls that rules on arguments decide are `unknown`: the log
    does not hold the arguments. They are known where the rules are those of the recording.
    """
    snapshot = _snapshot(policy, candidate=candidate)
    recording = _read(logs)
    findings = simulated(Replay(snapshot, _policy_of_recording(was)), recording)
    if as_json:
        print_json(findings_view(policy, snapshot, recording, findings))
    else:
        click.echo("\n".join(map(shown, findings_lines(policy, snapshot, recording, findings))))
    if fail_on_change and (findings.denied or findings.allowed):
        raise SystemExit(1)


def _snapshot(path: str, *, candidate: bool) -> Snapshot:
    checked = judge(path, settings_here(), without_secrets=True)
    live = policy_in_order(checked, path)
    if not candidate:
        return live
    if checked.candidate is None:
        raise CannotError(f"{path} has no candidate.yaml")
    return checked.candidate.snapshot


def _read(logs: tuple[str, ...]) -> Recording:
    recording = Recording()
    with progress("reading", sum(Path(name).stat().st_size for name in logs if Path(name).is_file())) as tick:
        for name in logs:
            try:
                recording.read(name, tick)
            except OSError as error:
                why = (error.strerror or "cannot be read").lower()
                raise CannotError(f"{name}: {why}") from None
    if recording.damaged and not recording.happened:
        raise CannotError(f"{', '.join(logs)}: not a line of the gateway's log in it ({recording.damage[0]})")
    return recording


def _policy_of_recording(path: str | None) -> Snapshot | None:
    """The one that is named must be in order; the one in use here may help."""
    settings = settings_here()
    checked = judge(path or settings.policy, settings, without_secrets=True)
    return checked.snapshot if path is None else policy_in_order(checked, path)


def simulated(replay: Replay, recording: Recording) -> Findings:
    """What became of each call, counted."""
    findings, happened = Findings(), in_order(recording.happened)
    with progress("simulating", len(happened)) as tick:
        for number, what in enumerate(happened, 1):
            if isinstance(what, Recorded):
                findings.take(replay.call(what))
            elif isinstance(what, RunEnded):
                replay.ended(what)
            else:
                replay.switched(what)
            if number % _STEP == 0:
                tick(_STEP)
    return findings


def findings_lines(path: str, snapshot: Snapshot, recording: Recording, findings: Findings) -> Iterator[str]:
    """For people; scripts have findings_view."""
    mode = ", mode: report" if snapshot.report else ""
    yield f"{path}, version {snapshot.version}{mode}"
    if findings.first is not None and findings.last is not None:
        yield f"{count(findings.calls, 'call')} from {instant(findings.first)} to {instant(findings.last)}"
    yield ""
    yield from _headline(findings)
    if findings.allowed:
        yield f"{_of(calls_of(findings.allowed), findings.calls)} would now be allowed"
        yield from _rows((group, f"was {reason}", "") for reason, group in findings.allowed.items())
    if findings.reported:
        yield f"{_of(calls_of(findings.reported), findings.calls)} would be refused in earnest without mode: report"
        yield from _rows((group, *key) for key, group in findings.reported.items())
    if findings.unknown:
        yield f"{_of(calls_of(findings.unknown), findings.calls)} unknown: decided by what the log does not hold"
        yield from _rows((group, cause, _CAUSES[cause]) for cause, group in findings.unknown.items())
    beyond = beyond_steps(snapshot, recording.steps)
    if beyond:
        examples = ", ".join(beyond[:EXAMPLES])
        yield f"{count(len(beyond), 'run')} took more than max_steps, at calls that the log does not tell, e.g. {examples}"
    if findings.again:
        yield f"refused as recorded, whatever the policy: {_counted(findings.again)}"
    if findings.still:
        yield f"refused before and now: {_counted(findings.still)}"
    for title, table in (("tool", findings.by_tool), ("agent", findings.by_agent)):
        yield from _table_lines(title, table)
    yield ""
    yield from _reading(recording)


_CAUSES = {
    "arguments": "the tool has a schema (tools.definitions.X.arguments)",
    "destination": "where it went (egress)",
    "steps": "which step it announced (max_steps)",
    "rate": "how long others took (rate_limited)",
}


def _headline(findings: Findings) -> Iterator[str]:
    said = f"{_of(calls_of(findings.denied), findings.calls)} would now be denied"
    if len(findings.denied) == 1:
        [(_, rule)] = findings.denied
        said += f", by {rule}"
    yield said
    yield from _rows((group, *key) for key, group in findings.denied.items())


def _of(part: int, calls: int) -> str:
    return f"{part:,} of {calls:,} calls"


def _rows(rows: Iterable[tuple[Group, str, str]]) -> Iterator[str]:
    most = sorted(rows, key=lambda row: (-row[0].calls, row[1:]))
    for group, reason, rule in most[:_ROWS]:
        yield f"  {group.calls:>7,}  {reason:<24} {rule:<40} {' '.join(group.examples)}".rstrip()
    if len(most) > _ROWS:
        yield f"           … and {len(most) - _ROWS} more (--json has all)"


def _table_lines(title: str, table: dict[str, Counter[str]]) -> Iterator[str]:
    """Those about which there is something to say."""
    rows = {name: row for name, row in table.items() if row["calls"] > row["same"]}
    if not rows:
        return
    yield ""
    yield f"{'by ' + title:<40} {'calls':>9} {'now denied':>11} {'now allowed':>12} {'unknown':>9}"
    most = sorted(rows.items(), key=lambda item: (-item[1]["denied"] - item[1]["allowed"], -item[1]["calls"], item[0]))
    for name, row in most[:_ROWS]:
        yield f"  {name:<38} {row['calls']:>9,} {row['denied']:>11,} {row['allowed']:>12,} {row['unknown']:>9,}"
    if len(rows) > _ROWS:
        yield f"  … and {len(rows) - _ROWS} more (--json has all)"


def _reading(recording: Recording) -> Iterator[str]:
    calls = sum(isinstance(what, Recorded) for what in recording.happened)
    others = recording.lines - calls - recording.damaged
    yield f"read {count(recording.lines, 'line')}: {count(calls, 'call')}, {count(others, 'other event')}, {recording.damaged:,} damaged"
    yield from (f"  damaged {where}" for where in recording.damage)
    if recording.damaged > len(recording.damage):
        yield f"  … and {recording.damaged - len(recording.damage):,} more"
    if recording.dropped:
        yield f"  the gateway itself had to leave out {recording.dropped:,} lines (log_dropped): the counts are lower than they were"


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in counter.most_common())
