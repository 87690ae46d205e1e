"""The forms of forms.txt."""

import codecs
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

_LINE = re.compile(r"(?P<form>.+?) => (?P<means>\S+)(?: ; .+)?")


class Form(NamedTuple):
    """One way to write a target, and the only thing it may mean."""

    text: str
    host: str | None
    """None: malformed."""
    port: int

    def __str__(self) -> str:
        return ascii(self.text)


def _read() -> dict[str, list[Form]]:
    groups: dict[str, list[Form]] = {}
    for line in Path(__file__).with_name("forms.txt").read_text(encoding="ascii").splitlines():
        if line.startswith("[") and line.endswith("]") and "=>" not in line:
            group = groups.setdefault(line[1:-1], [])
        elif line and not line.startswith("# "):
            found = _LINE.fullmatch(line)
            assert found, line
            group.append(_form(codecs.decode(found["form"], "unicode_escape"), found["means"]))
    return groups


def _form(text: str, means: str) -> Form:
    if means == "malformed":
        return Form(text, None, 0)
    parts = urlsplit(f"//{means}")
    assert parts.hostname
    assert parts.port
    return Form(text, parts.hostname, parts.port)


_GROUPS = _read()
AUTHORITIES = [form for group, forms in _GROUPS.items() if group.startswith("authority") for form in forms]
LOCATIONS = [form for group, forms in _GROUPS.items() if group.startswith("location") for form in forms]
URL_GROUPS = {name: forms for name, forms in _GROUPS.items() if not name.startswith(("authority", "location"))}
URLS = [form for forms in URL_GROUPS.values() for form in forms]
