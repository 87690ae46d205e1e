"""This gateway's part of the fleet's counts as the store is told of it, in absolute numbers: once under each connection (its epoch)."""

import secrets
from collections.abc import Callable, Iterator
from functools import partial

from gateway.model import RunKey
from gateway.state.shared import RUN_KEPT, AgentShare, Ask, Own, RunShare
from gateway.state.stores.valkey import wording
from gateway.state.stores.valkey.link import Link


class Telling:
    """Constructed once, by the Fleet. `now` is milliseconds of the store's clock, about."""

    def __init__(self, own: Own) -> None:
        self.epoch = 0
        self._own = own
        self._name = secrets.token_hex(6)

    @property
    def who(self) -> tuple[str, int]:
        """As every script is told it."""
        return self._name, self.epoch

    def introduce(self, ask: Ask, link: Link, now: int) -> tuple[bool, bool]:
        """Sees to it that the store knows this gateway's part before it is asked for more. Which of agent's and run's is new altogether?"""
        fresh_agent = fresh_run = False
        if ask.of_agent:
            agent = self._own.agents.get(ask.run.agent)
            if agent is None:
                agent = self._own.agents[ask.run.agent] = AgentShare()
            fresh_agent = self._is_new(agent)
            if agent.epoch != self.epoch:
                self.agent(ask.run.agent, agent, link, now)
        if ask.run.id:
            run = self._own.run(ask.run, now)
            fresh_run = self._is_new(run)
            if run.epoch != self.epoch:
                self.run(ask.run, run, link, now)
        return fresh_agent, fresh_run

    def untold(self) -> Iterator[tuple[int, Callable[[Link, int], None]]]:
        """What the store has not heard under this epoch, and how much each is to tell: also of runs and agents that nobody asks for here,
        since the others' calls are held to them.
        """
        for agent, share in [*self._own.agents.items()]:
            if share.epoch != self.epoch:
                yield 1 + len(share.hour), partial(self.agent, agent, share)
        for key, run in [*self._own.runs.items()]:
            if run.epoch != self.epoch:
                yield 1, partial(self.run, key, run)

    def run(self, key: RunKey, run: RunShare, link: Link, now: int, *, numbers: bool = True) -> None:
        """All that was used of it, or, without its `numbers`, its steps and its end."""
        run.epoch = self.epoch
        kept = max(RUN_KEPT, run.until - now)
        used = tuple(part for pair in run.used.items() for part in pair) if numbers else ()
        by, why = run.ended or ("", "")
        arguments = (*self.who, kept, run.began, run.steps, by, why, *used)
        link.run("TELL_RUN", (wording.run_key(key),), arguments, lambda _: None)

    def agent(self, agent: str, share: AgentShare, link: Link, now: int) -> None:  # noqa: ARG002  as a run is told
        """All that was used of its hour and days."""
        share.epoch = self.epoch
        calls = [part for pair in share.hour.items() for part in pair]
        days = [part for day, used in share.days.items() for name, value in used.items() for part in (day, name, value)]
        arguments = (*self.who, len(share.hour), *calls, *days)
        link.run("TELL_AGENT", wording.agent_keys(agent), arguments, lambda _: None)

    def _is_new(self, part: AgentShare | RunShare) -> bool:
        """Nothing was ever asked for it: the charge itself introduces it."""
        used = part.days if isinstance(part, AgentShare) else part.used or part.steps or part.ended
        new = not part.epoch and not used
        if new:
            part.epoch = self.epoch
        return new


def must_tell(*parts: AgentShare | RunShare | None) -> None:
    """They have changed while nobody could be told."""
    for part in parts:
        if part is not None:
            part.epoch = min(part.epoch, -1) if part.epoch else part.epoch
