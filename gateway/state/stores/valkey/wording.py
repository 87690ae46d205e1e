"""What the fleet's counts are called in the store, and how a charge is asked for and answered there. Pure."""

from urllib.parse import quote

from gateway.model import RunKey
from gateway.state.shared import RUN_KEPT, Answer, Ask, RunSeen


def tag(agent: str) -> str:
    """Begins all keys of one agent, which share a hash slot."""
    return f"tgw:{{{quote(agent, safe='')}}}:"


def agent_keys(agent: str) -> tuple[str, str, str]:
    """Its epochs, its hour, and its days, whose number follows."""
    own = tag(agent)
    return f"{own}epochs", f"{own}hour", f"{own}day:"


def call_key(ask: Ask) -> str:
    """That the call was charged."""
    return f"{tag(ask.run.agent)}call:{ask.id}"


def run_key(key: RunKey) -> str:
    """All that is counted of the run."""
    return f"{tag(key.agent)}run:{key.id}"


def limits(ask: Ask) -> tuple[str | int, ...]:
    """In the script's order; -1: none."""
    agent = [-1 if limit is None else limit for limit in (ask.per_hour, ask.spend_per_day, ask.tool_per_day)]
    run = [-1 if limit is None else limit for limit in (ask.run_spend, int(ask.run_seconds * 1000), ask.run_tool)]
    kept = RUN_KEPT + int(ask.run_seconds * 1000)
    return (*agent, ask.spend, ask.tool, ask.step, ask.run_calls, *run, kept)


def answer(text: str) -> Answer:
    """To a charge, and to a look at a run."""
    word, charged, at, used, wait, spent, tools, calls, steps, spend, of_tool, elapsed, by, why = text.split(" ")
    ended = (None, None) if by == "-" else (by, why)
    run = RunSeen(int(calls), int(steps), int(spend), int(of_tool), max(0, int(elapsed)) / 1000, *ended)
    free = None if int(wait) < 0 else int(wait) / 1000
    return Answer(word, charged == "1", int(at), int(used), free, int(spent), int(tools), run)
