"""Everything guards may look at, in one place."""

from dataclasses import dataclass, field

from gateway.state.breaker import Breakers
from gateway.state.idempotency import Answers
from gateway.state.inflight import InFlight
from gateway.state.ledger import Ledger
from gateway.state.pacing import Pacers
from gateway.state.retry_budget import RetryBudgets
from gateway.state.switches import Switches


@dataclass(slots=True)
class Counts:
    """One per process, alive through every reload."""

    max_in_flight: int
    ledger: Ledger = field(default_factory=Ledger)
    switches: Switches = field(default_factory=Switches)
    in_flight: InFlight = field(default_factory=InFlight)
    pacers: Pacers = field(default_factory=Pacers)
    breakers: Breakers = field(default_factory=Breakers)
    retry_budgets: RetryBudgets = field(default_factory=RetryBudgets)
    answers: Answers = field(default_factory=Answers)
    draining: bool = False
    """The lame duck's time is over: new calls are refused."""
