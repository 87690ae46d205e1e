"""The only reading of clocks. What decides is handed what was read."""

from time import monotonic, time
from typing import Final

from gateway.model import Moment

_monotonic: Final = monotonic
_time: Final = time
_new: Final = tuple.__new__
"""Compiled, what is final is found without a look into the module's dictionary."""


def clock() -> Moment:
    """Both clocks now; the loop's timers run on the same monotonic one."""
    return _new(Moment, (_monotonic(), _time()))  # without its constructor, which is a call of Python
