"""A policy folder, or one policy file, as it is on disk now → Compiled, kill switches, problems. Reads files; decides nothing itself."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gateway.model import KillSwitch, Source
from gateway.policy.candidate import candidate_warnings, changes
from gateway.policy.compile import compile_candidate, compile_policy, compile_switches
from gateway.policy.compiled import Compiled
from gateway.policy.document.problems import Place, PolicyError, Problem
from gateway.policy.document.yaml_loader import LARGEST, load
from gateway.policy.plans.given import Given, wanted
from gateway.policy.reading import Reading, Unreadable
from gateway.policy.schema.sections import Policy
from gateway.policy.schema.validate import read_candidate, read_policy, read_switches
from gateway.policy.secrets import Reference

POLICY, CANDIDATE, SWITCHES = "policy.yaml", "candidate.yaml", "kill_switch.yaml"
_LARGEST_SECRET = 64 * 1024
_LARGEST_TLS_FILE = 1024 * 1024
_START = Place(1, 1)


@dataclass(frozen=True, slots=True)
class Location:
    """Where the policy is: a folder, or one file without the others beside it."""

    file: Path
    folder: Path | None

    @classmethod
    def of(cls, path: str) -> "Location":
        given = Path(path)
        return cls(given / POLICY, given) if given.is_dir() else cls(given, None)

    @property
    def name(self) -> str:
        return self.file.name


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a policy is judged with beside its text: the environment, and what the settings say."""

    environ: Mapping[str, str]
    upstream: str | None = None
    own_listeners: frozenset[tuple[str, int]] = frozenset()
    budgets: Mapping[str, int] | None = None
    agent_id: str | None = None
    with_secrets: bool = True

    def __repr__(self) -> str:
        return "Surroundings(…)"


class JudgedPolicy(NamedTuple):
    """The verdict on policy.yaml."""

    compiled: Compiled | None
    problems: tuple[Problem, ...]
    """There are some exactly when nothing was compiled."""


class LaidOver(NamedTuple):
    """candidate.yaml, compiled on top of the policy in force."""

    compiled: Compiled
    content: str
    """As Candidate has it; so are the others."""
    changes: tuple[str, ...]
    warnings: tuple[str, ...]


class JudgedCandidate(NamedTuple):
    """What candidate.yaml comes to; without problems and without a candidate there is no such file."""

    candidate: LaidOver | None
    problems: tuple[Problem, ...] = ()


class JudgedSwitches(NamedTuple):
    """What kill_switch.yaml comes to; None: it says nothing that can be trusted."""

    switches: tuple[KillSwitch, ...] | None
    problems: tuple[Problem, ...] = ()


def internal_error(file: str, error: Exception) -> Problem:
    """A bug of ours, told as a file that was not taken. The error's own text may repeat values and is left out."""
    if isinstance(error, MemoryError):
        return Problem(file, _START, "", "takes more memory to read than there is: make it smaller")
    return Problem(file, _START, "", f"internal error: {type(error).__name__}")


def judge_policy(where: Location, around: Surroundings, reading: Reading, now: float) -> JudgedPolicy:
    """Reads and compiles policy.yaml."""
    try:
        content = reading.content(where.file, LARGEST)
        names = reading.names(where.folder, frozenset([SWITCHES])) if where.folder is not None else ()
    except Unreadable as error:
        # With its folder: a wrong GATEWAY_POLICY is not seen by the file's name.
        return JudgedPolicy(None, (Problem(str(where.file), _START, "", str(error)),))
    ignored = (
        tuple(name for name in names if _is_ignored(where.folder, name)) if where.folder else _beside(where, reading)
    )
    return judge_text(content, where.name, around, reading, now, ignored, candidate=CANDIDATE in names)


def judge_text(
    content: bytes,
    name: str,
    around: Surroundings,
    reading: Reading,
    now: float,
    ignored: tuple[str, ...] = (),
    *,
    candidate: bool = False,
) -> JudgedPolicy:
    """Compiles the bytes of a policy; `candidate`: there is one beside it."""
    try:
        document = load(content, name)
        read = read_policy(document)
        given = _gather((read.value,), around, reading, now, ignored, candidate=candidate)
        compiled, problems = compile_policy(read, document, given)
        return JudgedPolicy(compiled, tuple(sorted(set(problems))))
    except PolicyError as error:
        return JudgedPolicy(None, error.problems)
    except Exception as error:  # noqa: BLE001  a bug here must read as a refused policy, not stop the watching
        return JudgedPolicy(None, (internal_error(name, error),))


def judge_candidate(
    where: Location, around: Surroundings, reading: Reading, now: float, live: Compiled | None
) -> JudgedCandidate:
    """Reads candidate.yaml and lays it over the live policy; without one only what the file alone shows is judged."""
    try:
        if where.folder is None or CANDIDATE not in reading.names(where.folder):
            return JudgedCandidate(None)
    except Unreadable:  # told of policy.yaml
        return JudgedCandidate(None)
    try:
        content = reading.content(where.folder / CANDIDATE, LARGEST)
        return _laid_over(live, content, around, reading, now)
    except Unreadable as error:
        return JudgedCandidate(None, (Problem(CANDIDATE, _START, "", str(error)),))
    except PolicyError as error:
        return JudgedCandidate(None, error.problems)
    except Exception as error:  # noqa: BLE001  as above
        return JudgedCandidate(None, (internal_error(CANDIDATE, error),))


def _laid_over(
    live: Compiled | None, content: bytes, around: Surroundings, reading: Reading, now: float
) -> JudgedCandidate:
    document = load(content, CANDIDATE)
    read = read_candidate(document)
    if live is None:
        return JudgedCandidate(None, tuple(sorted(read.problems)))
    policy = live.policy()
    given = _gather((policy, read.value), around, reading, now, candidate=True)
    compiled, problems = compile_candidate(read, document, given, live)
    if compiled is None:
        return JudgedCandidate(None, tuple(sorted(set(problems))))
    differing = changes(policy, compiled.policy())
    known = frozenset(live.warnings)
    warnings = [warning for warning in compiled.warnings if warning not in known]
    warnings += candidate_warnings(live.rollout, differing)
    return JudgedCandidate(LaidOver(compiled, hashlib.sha256(content).hexdigest(), differing, tuple(warnings)))


def judge_switches(where: Location, reading: Reading, now: float) -> JudgedSwitches:
    """Reads kill_switch.yaml. A folder without one has no switches; a folder out of reach says nothing."""
    if where.folder is None:
        return JudgedSwitches(())
    try:
        if SWITCHES not in reading.names(where.folder):
            return JudgedSwitches(())
        document = load(reading.content(where.folder / SWITCHES, LARGEST), SWITCHES)
        read = read_switches(document)
    except Unreadable as error:
        return JudgedSwitches(None, (Problem(SWITCHES, _START, "", str(error)),))
    except PolicyError as error:
        return JudgedSwitches(None, error.problems)
    except Exception as error:  # noqa: BLE001  as above
        return JudgedSwitches(None, (internal_error(SWITCHES, error),))
    if read.problems or read.value is None:
        return JudgedSwitches(None, tuple(sorted(read.problems)))
    return JudgedSwitches(compile_switches(read.value, SWITCHES, Source.FILE, now))


def _beside(where: Location, reading: Reading) -> tuple[str, ...]:
    """A kill_switch.yaml beside a single policy file stops nothing: whoever writes one should hear that."""
    try:
        reading.content(where.file.parent / SWITCHES, LARGEST)
    except Unreadable:
        return ()
    return (SWITCHES,)


def _is_ignored(folder: Path, name: str) -> bool:
    """Further folders hold policies of their own and need no mention."""
    return name not in (POLICY, CANDIDATE) and (folder / name).is_file()


def _gather(
    policies: tuple[Policy | None, ...],
    around: Surroundings,
    reading: Reading,
    now: float,
    ignored: tuple[str, ...] = (),
    *,
    candidate: bool = False,
) -> Given:
    """Reads the secrets and files that the policies name."""
    found: dict[Reference, str] = {}
    unread: dict[Reference, str] = {}
    digests: dict[str, str] = {}
    unread_files: dict[str, str] = {}
    named = [wanted(policy) for policy in policies if policy is not None and around.with_secrets]
    for reference in frozenset[Reference]().union(*(references for references, _ in named)):
        try:
            found[reference] = _secret(reference, around, reading)
        except Unreadable as error:
            unread[reference] = str(error)
    for path in frozenset[str]().union(*(files for _, files in named)):
        try:
            digests[path] = hashlib.sha256(reading.content(Path(path), _LARGEST_TLS_FILE)).hexdigest()
        except Unreadable as error:
            unread_files[path] = str(error)
    return Given(
        upstream=around.upstream,
        own_listeners=around.own_listeners,
        budgets=around.budgets or {},
        agent_id=around.agent_id,
        secrets=found if around.with_secrets else None,
        unread=unread,
        digests=digests,
        unread_files=unread_files,
        ignored_files=ignored,
        candidate=candidate,
        now=now,
    )


def _secret(reference: Reference, around: Surroundings, reading: Reading) -> str:
    """What a reference stands for; a file's trailing line end is not part of it. Raises Unreadable."""
    if reference.kind == "env":
        text = around.environ.get(reference.name)
        if text is None:
            raise Unreadable("is not set")
    else:
        content = reading.content(Path(reference.name), _LARGEST_SECRET)
        if len(content) > _LARGEST_SECRET:
            raise Unreadable("is larger than 64 KiB")
        text = content.decode("utf-8", "replace").rstrip("\r\n")
    if not text.strip():
        raise Unreadable("is empty")
    if not text.isascii() or not text.isprintable():
        raise Unreadable("holds more than printable ASCII on one line")
    return text
