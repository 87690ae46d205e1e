"""What a log tells of the past, as it is replayed (replay.py)."""

from collections.abc import Iterable
from typing import NamedTuple

from gateway.denial import Reason
from gateway.model import Door, Effect, KillSwitch, RunKey


class Recorded(NamedTuple):
    """What the log tells of a call."""

    at: float
    """Unix time of its start."""
    refused: bool
    """By a rule or a door; a call that was let pass and failed was not."""
    ended: float
    call_id: str
    run: RunKey
    tool: str
    door: Door
    effect: Effect | None
    args_hash: str
    reason: Reason
    reported: Reason | None
    cost: int
    """Micro-USD, as charged."""
    policy: str
    unsent: bool
    """It was admitted and nothing of it was sent: the charge was given back when it ended."""
    target: str | None
    """Where a sampled line tells it."""


class RunEnded(NamedTuple):
    """An agent finished its run, or an operator stopped it: that does not depend on the policy."""

    at: float
    run: RunKey
    stop_reason: str
    stopped: bool


class Switched(NamedTuple):
    """A kill switch that is none of policy.yaml went on or off."""

    at: float
    switch: KillSwitch
    on: bool


Happened = Recorded | RunEnded | Switched


def in_order(happened: Iterable[Happened]) -> list[Happened]:
    """By time. The log tells milliseconds: within one, what was let pass comes before what was refused."""
    return sorted(happened, key=lambda what: (round(what.at, 3), isinstance(what, Recorded) and what.refused))
