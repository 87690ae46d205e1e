"""Names that callers choose (tools, runs, agents): which of them may be a credential, told without the patterns themselves. Pure."""

import re

from gateway.observers.redaction.personal import PERSONAL
from gateway.observers.redaction.shapes import CREDENTIALS

NUMBERS = frozenset({"phone", "card", "iban", "national_id"})
"""Kinds that are not hidden in names: a run's id may be any number."""
_RANDOM = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_RANDOM_LENGTHS = (32, 36)
_HINT = re.compile(
    b"|".join(
        b"(?:%b)" % (shape.hint or shape.pattern) for shape in CREDENTIALS + PERSONAL if shape.kind not in NUMBERS
    )
)
"""Found in every name of which something would be hidden. Names are short: in a payload this would take too long."""


def is_random(name: str) -> bool:
    """A trace id or a UUID: no credential we know has these forms, and there may be another with each call."""
    return len(name) in _RANDOM_LENGTHS and _RANDOM.fullmatch(name) is not None


def may_hide(name: str) -> bool:
    """False: no built-in shape that counts in names is in it."""
    return _HINT.search(name.encode("utf-8", "backslashreplace")) is not None
