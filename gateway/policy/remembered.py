"""What is found out about plans, once for each, and forgotten where another policy comes into force: compiled plans take no weak
references. Pure.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import ParamSpec, TypeVar, cast

P = ParamSpec("P")
T = TypeVar("T")

_MOST = 16_384
"""As many as a policy keeps plans (compiled.py)."""
_forget: list[Callable[[], None]] = []


def remembered(find_out: Callable[P, T]) -> Callable[P, T]:
    """For functions of a plan, which is told apart by its identity."""
    remembering = lru_cache(maxsize=_MOST)(find_out)
    _forget.append(remembering.cache_clear)
    return cast("Callable[P, T]", remembering)


def forget_plans() -> None:
    """Those of former policies would stay, with all they hold: schemas of arguments take some ten kilobytes each."""
    for forget in _forget:
        forget()
