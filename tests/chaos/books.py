"""The gateway's books, as its state file and its answers tell them, against the oracle's. Every line found is a fault."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiohttp

from gateway.state.rollout import is_chosen
from tests.chaos.oracle import Oracle
from tests.chaos.policy import (
    AGENTS,
    BROKEN,
    MAX_ACTIONS,
    MAX_DAILY_USD,
    MAX_DAILY_WRITES,
    MAX_TOOL_CALLS,
    MAX_USD,
    PACED,
    PERCENT,
    PRICES,
    UPSTREAMS,
    WRITES,
)
from tests.scenarios.installation import Installation

MILLION = 1_000_000
Name = tuple[str, ...]
"""Of a count: agent, then `calls` or `usd` of a run, `actions`, `spend` or `calls:TOOL` of the agent."""


class Books:
    """What was charged by name: surely, and at most, where the process was killed before it could log or write down all of it."""

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.sure: Counter[Name] = Counter()
        self.most: Counter[Name] = Counter()
        self.unknown, self.missing = oracle.unaccounted()
        for call, line in oracle.lines.items():
            if line.charged:
                self._enter(call, self.sure, self.most)
        for call in (*self.unknown, *oracle.perhaps_not_given_back()):
            self._enter(call, self.most)

    def _enter(self, call: str, *books: Counter[Name]) -> None:
        offered = self.oracle.offered[call]
        agent, price = offered.agent, PRICES[offered.tool]
        for book in books:
            if offered.run:
                book[agent, offered.run, "calls"] += 1
                book[agent, offered.run, "usd"] += price
            book[agent, "actions"] += 1
            book[agent, "spend"] += price
            book[agent, f"calls:{offered.tool}"] += 1

    def against(self, counted: Counter[Name]) -> Iterator[str]:
        for name in sorted({*counted, *self.sure}):
            if not self.sure[name] <= counted[name] <= self.most[name]:
                yield f"{' '.join(name)}: {counted[name]} counted, {self.sure[name]} to {self.most[name]} charged"

    def against_upstream(self) -> Iterator[str]:
        """Whatever ran was charged, and tried as often as the log says."""
        oracle = self.oracle
        for call, times in Counter(seen.call for seen in oracle.seen).items():
            line = oracle.lines.get(call)
            if line is not None and not (line.charged and times <= line.attempts):
                yield f"{call} reached the upstream {times} times, the log says {line}"
        for seen in oracle.seen:
            offered = oracle.offered[seen.call]
            if seen.path == BROKEN and not is_chosen(offered.agent, offered.run, PERCENT):
                yield f"{seen.call} met the candidate, and its run is not of its share"

    def against_callers(self) -> Iterator[str]:
        """The log says what the callers heard."""
        for call in self.missing:
            yield f"{call} is not in the log: {self.oracle.heard.get(call)}"
        for call, heard in self.oracle.heard.items():
            line = self.oracle.lines.get(call)
            streams = self.oracle.offered[call].tool == "events.stream"  # whose end comes after the headers
            if line is not None and heard.reason not in ("left", "no answer", line.reason) and not streams:
                yield f"{call} heard {heard.reason}, the log says {line.reason}"


def saved_in(state: Path) -> Counter[Name]:
    """The books of a gateway that has ended in order."""
    counted: Counter[Name] = Counter()
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
        for agent, run, calls, spend in db.execute("SELECT agent, id, tool_calls, spend FROM runs WHERE id <> ''"):
            counted[agent, run, "calls"], counted[agent, run, "usd"] = calls, spend
            counted[agent, "runs"] += 1
        for agent, name, value in db.execute(
            "SELECT agent, name, value FROM counts WHERE agent <> '' AND name <> 'touched'"
        ):
            counted[agent, "started" if name == "runs" else name] += value
    return counted


async def shown_by(installation: Installation, oracle: Oracle) -> Counter[Name]:
    """What run control tells the agents."""
    counted: Counter[Name] = Counter()
    runs = {(call.agent, call.run) for call in oracle.offered.values() if call.run}
    async with aiohttp.ClientSession(installation.data) as session:
        for agent, run in runs:
            async with session.get(f"/_gateway/runs/{run}", headers={"Agent-Id": agent}) as answer:
                if answer.status == 200:
                    counts = (await answer.json())["counts"]
                    counted[agent, run, "calls"] = counts["tool_calls"]
                    counted[agent, run, "usd"] = round(counts["usd"] * MILLION)
    return counted


def beyond_limits(counted: Counter[Name]) -> Iterator[str]:
    """No budget was overdrawn, and every run was counted once when it started."""
    limits = {"calls": MAX_TOOL_CALLS, "usd": round(MAX_USD * MILLION)}
    for name, value in counted.items():
        if len(name) == 3 and value > limits[name[2]]:
            yield f"{' '.join(name)}: {value} of {limits[name[2]]}"
    of_agents: dict[Name, int] = {
        ("billing", "actions"): MAX_ACTIONS,
        ("scout", "calls:notes.write"): MAX_DAILY_WRITES,
        ("scout", "spend"): round(MAX_DAILY_USD * MILLION),
    }
    for name, limit in of_agents.items():
        if counted[name] > limit:
            yield f"{' '.join(name)}: {counted[name]} of {limit}"
    for agent in AGENTS:
        if counted[agent, "runs"] != counted[agent, "started"]:
            yield f"{agent}: {counted[agent, 'runs']} runs, {counted[agent, 'started']} started"


def differences(oracle: Oracle, shown: Counter[Name], saved: Counter[Name]) -> list[str]:
    """After the end: between all that saw, counted or told something."""
    books = Books(oracle)
    found = [*oracle.faults, *oracle.performed_again()]
    found += [f"{call} may have run twice" for call in oracle.repeated_writes(WRITES)]
    for name, tools in UPSTREAMS.items():
        found += () if name in PACED else oracle.storms(tools)
    found += [*books.against_upstream(), *books.against_callers(), *beyond_limits(saved)]
    found += books.against(
        Counter({name: value for name, value in saved.items() if name[1] not in ("runs", "started")})
    )
    found += [
        f"{' '.join(name)}: {shown[name]} shown, {saved[name]} saved" for name in shown if shown[name] != saved[name]
    ]
    for reason in ("internal_error", "invalid_request", "unauthenticated"):
        if oracle.answers[reason]:
            found.append(f"{oracle.answers[reason]} answers {reason}")
    return found
