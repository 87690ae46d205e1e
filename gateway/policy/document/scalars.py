"""How an unquoted YAML scalar is read: as JSON would, or as Ambiguous where YAML 1.1 or 1.2 sees something else than text."""

import math
import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """An unquoted scalar that readers of YAML take for different things. No field takes it, except a time for a time."""

    text: str
    kind: str
    """What it may be taken for, as an error line says it."""


DATE = "a date"
_NULL = frozenset(["", "~", "null", "Null", "NULL"])
_TRUE = frozenset(["true", "True", "TRUE"])
_FALSE = frozenset(["false", "False", "FALSE"])
_MAY_BE_OTHER = frozenset("0123456789+-.~=<nNtTfFyYoO")
"""First characters of everything that is not simply text."""
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_LONGEST_INTEGER = 18  # digits: fits 64 bits, in which JSON readers agree
_AMBIGUOUS = (
    (re.compile(r"yes|Yes|YES|no|No|NO|on|On|ON|off|Off|OFF"), "yes or no as YAML 1.1 spells it"),
    (re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"), "a number that is not finite"),
    (re.compile(r"[-+]?0o?[0-9_]+"), "an octal number"),
    (re.compile(r"[-+]?0b[01_]+"), "a binary number"),
    (re.compile(r"[-+]?0x[0-9a-fA-F_]+"), "a hexadecimal number"),
    (re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?"), "a base 60 number"),
    (
        re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"),
        "a number in YAML 1.1 spelling",
    ),
    (re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9]{1,2}:.*)?"), DATE),
    (re.compile(r"=|<<"), "a YAML 1.1 special"),
)


def read_plain(text: str) -> object:
    """None, bool, int, finite float, str or Ambiguous. What either YAML version takes for something else is never text."""
    if text in _NULL:
        return None
    if text[0] not in _MAY_BE_OTHER:
        return text
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INTEGER.fullmatch(text):
        digits = len(text.lstrip("+-"))
        return int(text) if digits <= _LONGEST_INTEGER else Ambiguous(text, f"a number of {digits} digits")
    if _NUMBER.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else Ambiguous(text, "a number that is not finite")
    return next((Ambiguous(text, kind) for form, kind in _AMBIGUOUS if form.fullmatch(text)), text)
