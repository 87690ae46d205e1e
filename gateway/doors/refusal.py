"""How a door says no before there is a call to judge: bad HTTP, bad path, bad identity."""

from gateway.denial import Denial


class Refusal(Exception):
    """Carries the Denial to answer with. It is logged like every other denial."""

    def __init__(self, denial: Denial) -> None:
        super().__init__(denial.reason)
        self.denial = denial
