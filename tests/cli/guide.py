"""What pages show of the command line."""

import re


def shows(said: str, shown: str) -> None:
    """Every line of `shown` is there, in this order; … stands for anything."""
    lines = iter(said.splitlines())
    for line in shown.splitlines():
        if line != "…":
            pattern = ".*".join(map(re.escape, line.split("…")))
            assert any(re.fullmatch(pattern, found) for found in lines), f"{line!r} is not in its place of:\n{said}"
