"""Durations as people write them: 90s, 15m, 1h, 2d."""

import re

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_LONGEST = 366 * 86400


def seconds(text: str) -> int:
    """Raises ValueError where `text` is no duration above zero and up to 366 days."""
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", text)
    total = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < total <= _LONGEST:
        raise ValueError("expected a duration such as 90s, 15m, 1h or 2d, up to 366d")
    return total


def in_words(total: float) -> str:
    """The two largest units: `2d 3h`, `15m`, `90s` as `1m 30s`."""
    left = max(0, int(total))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return " ".join(parts[:2]) or "0s"
