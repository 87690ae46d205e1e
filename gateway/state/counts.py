"""Everything guards may look at, in one place."""

from dataclasses import dataclass, field

from gateway.state.inflight import InFlight
from gateway.state.ledger import Ledger
from gateway.state.switches import Switches


@dataclass(slots=True)
class Counts:
    """One per process, alive through every reload."""

    max_in_flight: int
    ledger: Ledger = field(default_factory=Ledger)
    switches: Switches = field(default_factory=Switches)
    in_flight: InFlight = field(default_factory=InFlight)
    draining: bool = False
    """The lame duck's time is over: new calls are refused."""
