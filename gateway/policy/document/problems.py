"""What is wrong with a policy file, and where: the lines a user sees (SPEC 3). Which values may be wrong is judged elsewhere."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

Path = tuple[str | int, ...]
"""Keys and list positions from the top of a file down to one value."""

MOST_LINES = 20
_COLUMN_BITS = 32
MOST_PROBLEMS = 1000
"""Beyond that nobody counts, and looking for more would only take time."""
_MOST_STEPS = 16
_SHOWABLE = re.compile(r"[A-Za-z0-9_.:/*@$-]{1,64}")
_CREDENTIAL = re.compile(
    r"(?i)\b(?:bearer|basic|token)\s+\S|\b(?:sk|pk|rk|gh[opsur]|github_pat|glpat|xox[abprs]|hf|npm|pypi|AKIA|ASIA|AIza|ya29)"
    r"[-_A-Z0-9]{12,}|\beyJ[A-Za-z0-9_-]{8,}|-----BEGIN|://[^/\s]*@"
)
_DENSE = re.compile(r"(?=[A-Za-z+=]*[0-9][A-Za-z+=]*[0-9])(?=[0-9+=]*[A-Za-z])[A-Za-z0-9+=]{20,}")
"""Letters and digits mixed without a break: a random token, but no UUID and no name of a service."""
_LONGEST_JUDGED = 1000
_LONGEST_COMPARED = 60
_MOST_COMPARED = 100
_MOST_NAMED = 8


class Place(NamedTuple):
    """Where something stands, counted from 1 as editors do."""

    line: int
    column: int

    def pack(self) -> int:
        return self.line << _COLUMN_BITS | self.column

    @classmethod
    def unpack(cls, packed: int) -> "Place":
        return cls(packed >> _COLUMN_BITS, packed & ((1 << _COLUMN_BITS) - 1))


@dataclass(slots=True)
class Mark:
    """Where one value of the tree stands, and its children."""

    place: Place
    """Of the key, for the value of a mapping; else of the value itself."""
    children: "dict[str | int, Mark | int]" = field(default_factory=dict)
    """A scalar has its packed place alone: one of these for each would be most of what the garbage collector walks in a reload."""

    def find(self, path: Path) -> Place:
        """The place of the value at `path`, or of the nearest value above it that the file has."""
        mark = self
        for step in path:
            below = mark.children.get(step)
            if below is None:
                break
            if isinstance(below, int):
                return Place.unpack(below)
            mark = below
        return mark.place


class Problem(NamedTuple):
    """One line of complaint. Sorts by file, then by place."""

    file: str
    place: Place
    key: str
    """The dotted path, "" for the file as a whole."""
    text: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.place.line}:{self.place.column}"
        return f"{where} {self.key}: {self.text}" if self.key else f"{where} {self.text}"


class PolicyError(Exception):
    """A policy that cannot be in force, with everything that is wrong with it, sorted by place."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(self.lines))

    @property
    def lines(self) -> tuple[str, ...]:
        """At most 20 lines, then how many more there are."""
        return lines(self.problems)


class Findings:
    """Collects the problems of one file, so that all of them are told at once."""

    def __init__(self, file: str, mark: Mark, doubtful: Iterable[Path] = ()) -> None:
        self.file = file
        self.problems: list[Problem] = []
        self._mark = mark
        self._doubtful = frozenset(doubtful)

    def add(self, path: Path, text: str) -> None:
        """Tells a problem, unless what stands at, above or below the path is known to be wrong already."""
        if len(self.problems) <= MOST_PROBLEMS and not self.doubts(path):
            self.problems.append(Problem(self.file, self._mark.find(path), dotted(path), text))

    def doubts(self, path: Path) -> bool:
        """Was something at, above or below this path left out as wrong?"""
        return any(path[: len(bad)] == bad or bad[: len(path)] == path for bad in self._doubtful) if path else False


def lines(problems: Iterable[Problem]) -> tuple[str, ...]:
    """The problems as printed: at most 20, then `… and N more`."""
    told = [str(problem) for problem in problems]
    if len(told) <= MOST_LINES:
        return tuple(told)
    at_least = "more than " if len(told) > MOST_PROBLEMS else ""
    return (*told[:MOST_LINES], f"… and {at_least}{min(len(told), MOST_PROBLEMS) - MOST_LINES} more")


def dotted(path: Path) -> str:
    """`tools.allowlist[1]`; a key that could be a misplaced secret, or would garble a terminal, shows as `…`."""
    text = ""
    for step in path[:_MOST_STEPS]:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += ("." if text else "") + shown_name(step)
    return text if len(path) <= _MOST_STEPS else text + "…"


def shown_name(name: str) -> str:
    """A key or name as it may be printed."""
    return name if _SHOWABLE.fullmatch(name) and not looks_secret(name) else "…"


def suggestion(name: str, known: Collection[str]) -> str:
    """How a line about an unknown name ends: the nearest name there is, or those there are where they are few."""
    if len(known) > _MOST_COMPARED:
        return ""
    from difflib import get_close_matches  # for mistakes alone: a start without one need not have it

    by_letters = {other.lower(): other for other in sorted(known, reverse=True)}
    near = get_close_matches(name[:_LONGEST_COMPARED].lower(), list(by_letters), n=1, cutoff=0.5)
    if near:
        return f', did you mean "{shown_name(by_letters[near[0]])}"?'
    return f", known are: {', '.join(map(shown_name, sorted(known)))}" if 0 < len(known) <= _MOST_NAMED else ""


def looks_secret(text: str) -> bool:
    """Could this be a credential? Errs on the side of yes: the answer decides what is never printed."""
    return len(text) > _LONGEST_JUDGED or bool(_CREDENTIAL.search(text) or _DENSE.search(text))
