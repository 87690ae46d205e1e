"""A document against the schema: every error as a line with its place, what was expected, and no value that could be secret."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.policy.document.problems import Findings, Path, Problem
from gateway.policy.document.yaml_loader import Document
from gateway.policy.schema.kinds import section_of
from gateway.policy.schema.section import Section
from gateway.policy.schema.sections import NOT_IN_CANDIDATES, KillSwitches, Policy
from gateway.policy.schema.wrongs import MOST_JUDGED, TooManyError, Wrongs

M = TypeVar("M", bound=Section)

_STAYS = "stays as in policy.yaml: a candidate holds tools, upstreams, egress, runs and the limits of agents"


@dataclass(frozen=True, slots=True)
class Read(Generic[M]):
    """What a document says. With problems, `value` holds what could still be read, so that the rest is judged too."""

    value: M | None
    problems: tuple[Problem, ...]
    doubtful: frozenset[Path]
    """What was left out of `value`; no conclusions may be drawn from its absence."""


def read_policy(document: Document) -> Read[Policy]:
    """A policy.yaml."""
    return _read(Policy, document, ())


def read_candidate(document: Document) -> Read[Policy]:
    """A candidate.yaml: the sections that the value has written, and no others, take the place of the live policy's."""
    stays = (path for key in NOT_IN_CANDIDATES for path in _paths_of(key.split("."), document.value))
    return _read(Policy, document, (), stays)


def read_switches(document: Document) -> Read[KillSwitches]:
    """A kill_switch.yaml: the section's keys, with or without `kill_switch:` above them."""
    value = document.value
    under = ("kill_switch",) if isinstance(value, dict) and set(value) == {"kill_switch"} else ()
    return _read(KillSwitches, document, under)


def _read(section: type[M], document: Document, under: Path, stays: Iterable[Path] = ()) -> Read[M]:
    findings = Findings(document.file, document.mark)
    wrongs = Wrongs(findings)
    value = document.value
    for step in under:
        value = value[step] if isinstance(value, dict) else None
    read = None
    try:
        for path in stays:
            wrongs.tell(path, _STAYS)
        read = section_of(section).read(value, under, wrongs)
    except TooManyError:
        pass
    known = {problem.key for problem in document.problems}
    problems = [*document.problems, *(problem for problem in findings.problems if problem.key not in known)]
    value = read if isinstance(read, section) and len(wrongs.paths) < MOST_JUDGED else None
    return Read(value, tuple(problems), frozenset(wrongs.paths))


def _paths_of(keys: Sequence[str], value: object, path: Path = ()) -> Iterator[Path]:
    """Where a document has such a key; `*` is any."""
    if not keys:
        yield path
    elif isinstance(value, dict):
        for key in value if keys[0] == "*" else value.keys() & {keys[0]}:
            yield from _paths_of(keys[1:], value[key], (*path, key))
