"""Which state of the fleet's switches, or of its notes, one is: `ERA.NUMBER`. Each change adds one to the number. Who finds that the store
has lost something begins another era: then every gateway tells what it holds again, since no number says what is missing.
"""

import secrets

NOTHING_READ = ""


def new_era() -> str:
    """No other has its name."""
    return secrets.token_hex(6)


def follows(version: str, known: str) -> bool:
    """Is it what has become of the known one, with nothing lost on the way?"""
    if known == NOTHING_READ:
        return True
    era, _, number = version.partition(".")
    known_era, _, known_number = known.partition(".")
    return era == known_era and int(number) >= int(known_number)
