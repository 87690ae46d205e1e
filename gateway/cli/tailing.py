"""`tail`: calls as they end, from the admin plane's event stream, for as long as somebody looks."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping

import click

from gateway.cli import choices
from gateway.cli.client import Streamed, Unreachable, ask, follow, query
from gateway.cli.output import accepted, asks_the_gateway, shown
from gateway.denial import ANSWERS

_WAITS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between two tries to reach a gateway that is gone; the last one goes on."""
_FAILED = frozenset(
    {
        "tool_error",
        "upstream_failed",
        "tool_timeout",
        "outcome_unknown",
        "response_too_large",
        "internal_error",
        "client_gone",
    }
)
Style = Callable[[str, str], str]
"""A text in a colour, or as it is."""


@click.command(
    epilog="""\b
Examples:
  tool-gateway tail
  tool-gateway tail --reason '!ok'                 (everything that did not go well)
  tool-gateway tail --agent billing-agent --tool 'search.*' -n 100
  tool-gateway tail --json | jq -r .call_id

\b
Calls go to stdout, what is said about them to stderr. Colours only on a terminal, and not where NO_COLOR is set.
It ends with Ctrl-C, waits for a gateway that restarts, and says where calls may be missing.
"""
)
@click.option(
    "--tool", metavar="PATTERN", shell_complete=choices.tools, help="A tool, all below a name (search.*), or * ."
)
@click.option("--agent", shell_complete=choices.agents, help="One agent's calls.")
@click.option("--run", help="The calls of runs of this id.")
@click.option(
    "--reason",
    metavar="WORDS",
    shell_complete=choices.reasons,
    help="Reasons, with commas between them; with ! before them all others.",
)
@click.option(
    "-n", "--lines", default=10, show_default=True, type=click.IntRange(0, 1000), help="So many earlier calls first."
)
@click.option("--json", "as_json", is_flag=True, help="A JSON object a line, as in the log.")
@asks_the_gateway
def tail(tool: str | None, agent: str | None, run: str | None, reason: str | None, lines: int, as_json: bool) -> None:
    """Follow calls as they end, and why each was refused."""
    filters = {"tool": tool, "agent": agent, "run": run, "reason": reason}
    show = _as_json if as_json else _as_line(_style())
    try:
        for call in _calls(filters, lines):
            click.echo(show(call), color=True)
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:  # whoever read this has seen enough; nothing is left to flush at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _calls(filters: Mapping[str, str | None], earlier: int) -> Iterator[Mapping[str, object]]:
    """Those that are kept, then each as it ends."""
    last = None
    for call in _earlier(filters, earlier) if earlier else ():
        last = str(call["call_id"])
        yield call
    for event in _events("/v1/calls/stream?" + query(filters), last):
        if event.name == "call":
            yield event.data
        elif event.name == "lost":
            _note(_lost(event.data.get("lost")))


def _earlier(filters: Mapping[str, str | None], most: int) -> list[Mapping[str, object]]:
    listed = accepted(ask("GET", "/v1/calls?" + query({**filters, "limit": str(most)})))["calls"]
    return listed[::-1] if isinstance(listed, list) else []


def _events(path: str, last: str | None) -> Iterator[Streamed]:
    """For good: the first try must succeed, a stream that breaks off later is taken up again."""
    opened, tries = False, 0
    while True:
        try:
            for event in follow(path, last):
                if event is not None:
                    last = event.id or last
                    yield event
                    continue
                if tries:
                    _note("the gateway is back")
                opened, tries = True, 0
        except Unreachable as error:
            if not (error.passing and opened):
                raise
            if not tries:
                _note("the gateway does not answer: waiting for it")
            time.sleep(_WAITS[min(tries, len(_WAITS) - 1)])
            tries += 1


def _lost(calls: object) -> str:
    if isinstance(calls, int):
        return f"{calls:,} calls are missing here: they ended faster than they were read"
    return "calls may be missing here: the gateway was restarted, or more ended meanwhile than it keeps"


def _note(text: str) -> None:
    click.echo(f"-- {text}", err=True)


def _as_json(call: Mapping[str, object]) -> str:
    return json.dumps(call)


def _as_line(style: Style) -> Callable[[Mapping[str, object]], str]:
    def line(call: Mapping[str, object]) -> str:
        reason, decision = _text(call, "reason"), _text(call, "decision")
        duration = call.get("duration_ms")
        took = f"{duration:,.0f} ms" if isinstance(duration, int | float) else "-"
        told = (
            style(_text(call, "ts")[11:23], "bright_black"),
            style(f"{reason:<20}", _colour(reason, decision)),
            f"{_text(call, 'tool'):<24}",
            f"{_text(call, 'agent_id')} {_text(call, 'run_id')}".ljust(28),
            f"{_text(call, 'status'):>4} {took:>10}",
            style(_text(call, "call_id"), "bright_black"),
        )
        detail = call.get("detail")
        below = f"\n    {style(shown(str(detail)), 'bright_black')}" if detail else ""
        return "  ".join(told) + below

    return line


def _colour(reason: str, decision: str) -> str:
    if decision == "report":
        return "magenta"
    if reason in _FAILED:
        return "yellow"
    return "red" if reason in ANSWERS else "green"


def _text(call: Mapping[str, object], key: str) -> str:
    value = call.get(key)
    return "-" if value is None else shown(str(value))


def _style() -> Style:
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return lambda text, _colour: text
    return lambda text, colour: click.style(text, fg=colour)
