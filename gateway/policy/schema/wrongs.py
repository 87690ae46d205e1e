"""What is wrong with a document: lines that repeat no value that could be secret, and the places, so that no more is concluded."""

import json
from collections.abc import Collection

from gateway.policy.document.problems import MOST_PROBLEMS, Findings, Path, looks_secret, suggestion
from gateway.policy.document.scalars import Ambiguous

WRONG = object()
"""Stands for a value that could not be read, and was told."""

MOST_JUDGED = 200
"""With more errors than that a file is no policy: no names are suggested, and the rest is not judged."""
_LONGEST_SHOWN = 60


class TooManyError(Exception):
    """Looking for more would only take time."""


class Wrongs:
    """Takes what is found wrong with a document."""

    def __init__(self, findings: Findings) -> None:
        self.paths: set[Path] = set()
        """Where something is wrong."""
        self._findings = findings

    def tell(self, path: Path, text: str) -> object:
        """Always WRONG. Raises TooManyError where there is no use in reading on."""
        self._findings.add(path, text)
        self.paths.add(path)
        if len(self.paths) > MOST_PROBLEMS:
            raise TooManyError
        return WRONG

    def expected(self, path: Path, phrase: str, value: object, *, if_quoted: bool = False) -> object:
        """Another value was expected; `if_quoted`: its text would do."""
        got = _shown(value, path)
        if if_quoted:
            got += ": quote it if text is meant"
        return self.tell(path, f"expected {phrase}" + (f", got {got}" if got else ""))

    def unknown(self, path: Path, known: Collection[str]) -> None:
        """No such key."""
        few = len(self.paths) < MOST_JUDGED
        self.tell(path, "unknown key" + (suggestion(str(path[-1]), known) if few else ""))


def _shown(value: object, path: Path) -> str:
    """The value as a line may repeat it; "" for a text that could be a secret."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true" if value else "false"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case Ambiguous():
            return value.kind
        case str() if _may_show(value, path):
            return json.dumps(
                value if len(value) <= _LONGEST_SHOWN else value[:_LONGEST_SHOWN] + "…", ensure_ascii=False
            )
        case int() | float() if _may_show("", path):
            return str(value)
        case str():
            return ""
        case _:
            return "a number"


def _may_show(value: str, path: Path) -> bool:
    secret = any(
        isinstance(step, str) and (step in ("headers", "token", "url", "secret") or step.endswith("_key"))
        for step in path
    )
    return not secret and value.isprintable() and not looks_secret(value)
