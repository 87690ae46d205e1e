"""What each agent has used over all its runs: actions and runs started in the last hour, spend and calls by tool of the UTC day."""

from typing import NamedTuple


class SavedCount(NamedTuple):
    """One count of one agent as stores keep it: an absolute value, which replaces what was saved under the same three names."""

    agent: str
    name: str
    """`actions`, `runs`, `spend` or `calls:TOOL`. Stores do not need to know what it means."""
    period: int
    """The second or the UTC day (since 1970) that it counts."""
    value: int
    """0: to be deleted."""
