"""What a policy grants in numbers, for counts to be held against. (A run's Budgets are in model.py.) Standard library only."""

from typing import NamedTuple


class BreakerBounds(NamedTuple):
    """When an upstream is left alone."""

    failures: int = 5
    """Consecutive failed attempts that open it."""
    open_for: float = 30.0
    """Seconds until it is probed, give or take a fifth."""


class Rate(NamedTuple):
    """A tool's attempts in time: a bucket of `burst` that refills with `per_second`."""

    per_second: float
    burst: int


class Pace(NamedTuple):
    """How a tool's attempts line up, whoever calls."""

    rate: Rate | None = None
    max_concurrency: int | None = None
    max_waiting: int = 100
    held: bool = True
    """False (mode: report): the rate is measured and holds nobody up, and neither does a pause; places are held all the same."""


class AgentBounds(NamedTuple):
    """What an agent may use over all its runs; None: no limit. Money is integer micro-USD."""

    max_actions_per_hour: int | None = None
    """In any hour."""
    max_spend: int | None = None
    """Micro-USD a UTC day."""
    max_calls: int | None = None
    """Calls of this one tool a UTC day (`max_calls_per_tool`)."""
    max_runs_started_per_hour: int = 6000
    """In any hour; runs that the agent names."""


def dollars(micro_usd: int) -> str:
    """As a person writes it, exact: `$0.001`, `$10.00`."""
    whole, part = divmod(micro_usd, 1_000_000)
    cents = f"{part:06d}".rstrip("0")
    return f"${whole}.{cents:0<2}"


USUAL_BREAKER = BreakerBounds()
UNPACED = Pace()
UNBOUNDED = AgentBounds()
