"""Where the policy comes from: reads the folder, watches it, swaps whole snapshots, keeps the last good one."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from gateway.model import Event, KillSwitch, Moment
from gateway.policy.compiled import Compiled, CompiledPolicy
from gateway.policy.document.problems import Place, PolicyError, Problem, lines
from gateway.policy.folder import (
    CANDIDATE,
    SWITCHES,
    JudgedCandidate,
    JudgedPolicy,
    JudgedSwitches,
    Location,
    Surroundings,
    internal_error,
    judge_candidate,
    judge_policy,
    judge_switches,
    judge_text,
)
from gateway.policy.governed import NOTHING, Overlay
from gateway.policy.judging import Answer, Judge, NotJudgedError
from gateway.policy.reading import Reading
from gateway.policy.snapshot import Candidate, Snapshot
from gateway.policy.watched import Asked, Watched

T = TypeVar("T")

POLL_SECONDS = 0.25
"""Between two looks at the files. With settling, reading and compiling a change is in effect within the promised second."""
SETTLE_SECONDS = 0.05
MOST_LOOKS = 4
"""A file that still changes after that many settling looks (200 ms in all) is taken as it is."""
_START = Place(1, 1)


class Checked(NamedTuple):
    """The verdict of `check`."""

    snapshot: Snapshot | None
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    candidate: Candidate | None = None
    """candidate.yaml, where there is one and nothing has a problem."""


def check(
    path: str,
    *,
    environ: Mapping[str, str],
    upstream: str | None = None,
    own_listeners: frozenset[tuple[str, int]] = frozenset(),
    budgets: Mapping[str, int] | None = None,
    agent_id: str | None = None,
    without_secrets: bool = False,
    now: float = 0.0,
) -> Checked:
    """Judges a folder or file as the start would. There is a snapshot exactly when there are no problems.

    `without_secrets` leaves references as written and reads none of them; such a snapshot cannot serve.
    """
    where = Location.of(path)
    around = Surroundings(environ, upstream, own_listeners, budgets, agent_id, with_secrets=not without_secrets)
    reading = Reading()
    judged = judge_policy(where, around, reading, now)
    beside = judge_candidate(where, around, reading, now, judged.compiled)
    problems = judged.problems + beside.problems + judge_switches(where, reading, now).problems
    warnings = judged.compiled.warnings if judged.compiled is not None else ()
    if problems or judged.compiled is None:
        return Checked(None, lines(problems), warnings)
    snapshot = CompiledPolicy(judged.compiled)
    return Checked(snapshot, (), warnings, _candidate(beside, snapshot))


def _candidate(judged: JudgedCandidate, live: CompiledPolicy) -> Candidate | None:
    found = judged.candidate
    if found is None:
        return None
    snapshot = CompiledPolicy(found.compiled, live, live.overlay)
    return Candidate(snapshot, found.content, found.changes, found.warnings)


class PolicySource:
    """Holds the snapshot in force. `load` once, then `watch` as a task; all callbacks run on the caller's loop or thread.

    The callbacks are also called by `load`; `on_candidate` follows `on_snapshot`, for a candidate is compiled on top of the policy.
    """

    snapshot: Snapshot
    """In force. Set by `load`, replaced in one assignment."""
    candidate: Candidate | None = None
    """candidate.yaml, where there is one and it is in order. Whether it is tried is not known here."""
    loaded_at: Moment
    """Since when."""

    def __init__(
        self,
        path: str,
        *,
        environ: Mapping[str, str],
        upstream: str | None,
        own_listeners: frozenset[tuple[str, int]],
        budgets: Mapping[str, int],
        agent_id: str | None = None,
        overlay: Overlay = NOTHING,
        emit: Callable[[Event], None],
        clock: Callable[[], Moment],
        on_snapshot: Callable[[Snapshot], None],
        on_candidate: Callable[[Candidate | None], None],
        on_file_switches: Callable[[tuple[KillSwitch, ...]], None],
    ) -> None:
        self._around = Surroundings(dict(environ), upstream, own_listeners, budgets, agent_id)
        self._emit = emit
        self._clock = clock
        self._on_snapshot = on_snapshot
        self._on_candidate = on_candidate
        self._on_file_switches = on_file_switches
        self._where = Location.of(path)
        self._judge = Judge()
        self._policy = Watched(self._judge, self._ask_policy, self._policy_not_judged, clock, asyncio.Lock())
        self._candidate = Watched(self._judge, self._ask_candidate, self._candidate_not_judged, clock, asyncio.Lock())
        self._switches = Watched(self._judge, self._ask_switches, self._switches_not_judged, clock, asyncio.Lock())
        self._live: CompiledPolicy | None = None
        self._overlay = overlay
        self._judged_candidate: JudgedCandidate | None = None
        self._serving = False
        self._policy_problems: tuple[Problem, ...] = ()
        self._candidate_problems: tuple[Problem, ...] = ()
        self._switch_problems: tuple[Problem, ...] = ()
        # One a file, so that a candidate that takes long to compile delays no policy, and neither of them kill_switch.yaml.
        self._threads = ThreadPoolExecutor(3, thread_name_prefix="policy")

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the files on disk are not in force; () when they are."""
        return lines(self._policy_problems + self._candidate_problems + self._switch_problems)

    @property
    def candidate_problems(self) -> tuple[str, ...]:
        """Why candidate.yaml is not tried; () where it is in order, or not there."""
        return lines(self._candidate_problems)

    def load(self) -> None:
        """Reads everything for the first time. Raises PolicyError with all that is wrong: there is no last good policy yet.

        A bad candidate is reported and no more: every run lives under the policy then, as after any other change of it.
        """
        policy, switches = self._policy.judge(), self._switches.judge()
        if policy is None or switches is None:
            raise AssertionError("load is called once, before anything else")
        problems = policy.answer.verdict.problems + switches.answer.verdict.problems
        if problems:
            raise PolicyError(problems)
        policy.take(policy.answer)
        candidate = self._candidate.judge()
        if candidate is not None:
            candidate.take(candidate.answer)
        switches.take(switches.answer)
        self._serving = True

    async def watch(self) -> None:
        """Follows the files until cancelled."""
        try:
            followed = self._follow(self._policy), self._follow(self._candidate), self._follow(self._switches)
            await asyncio.gather(*followed)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._judge.close()

    async def reload(self) -> tuple[str, ...]:
        """Reads everything now. The problems, if any."""
        await self._renew(self._switches)
        await self._renew(self._policy)
        await self._renew(self._candidate)
        return self.problems

    def govern(self, overlay: Overlay) -> None:
        """What was set through the governed door is this from now on, for the policy in force, for a candidate, and for those that
        follow.
        """
        self._overlay = overlay
        if self._live is None:
            return
        previous = self._live.version
        self.snapshot = self._live = CompiledPolicy(self._live.compiled, overlay=overlay)
        self._on_snapshot(self.snapshot)
        self._tell_loaded(self.snapshot, previous, None)
        if self._judged_candidate is not None:
            self.candidate = _candidate(self._judged_candidate, self._live)
            self._on_candidate(self.candidate)

    async def check(self, text: bytes) -> tuple[Snapshot | None, tuple[str, ...]]:
        """What a policy of this text would be, here and now. It is not put in force."""
        question = partial(judge_text, text, self._where.name, self._around, now=self._clock().wall)
        try:
            answer = await self._off_loop(partial(self._judge.ask, question, len(text)))
        except NotJudgedError as error:
            return None, lines([Problem(self._where.name, _START, "", str(error))])
        judged = answer.verdict
        return None if judged.compiled is None else CompiledPolicy(judged.compiled), lines(judged.problems)

    async def _follow(self, watched: Watched[T]) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if await self._off_loop(watched.differs):
                    await self._settle(watched)
                    await self._renew(watched)
            except Exception as error:  # noqa: BLE001  a watcher that died would freeze the policy without a word
                self._tell_rejected((internal_error(self._where.name, error),))

    async def _settle(self, watched: Watched[T]) -> None:
        """Waits until two looks agree, so that a file is not read half written."""
        before = await self._off_loop(watched.look)
        for _ in range(MOST_LOOKS):
            await asyncio.sleep(SETTLE_SECONDS)
            now = await self._off_loop(watched.look)
            if now == before:
                return
            before = now

    async def _renew(self, watched: Watched[T]) -> None:
        async with watched.lock:
            judged = await self._off_loop(watched.judge)
            if judged is not None:
                judged.take(judged.answer)

    async def _off_loop(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    def _ask_policy(self) -> Asked[JudgedPolicy]:
        question = partial(judge_policy, self._where, self._around, now=self._clock().wall)
        return Asked(question, self._size(self._where.file), self._take_policy)

    def _ask_candidate(self) -> Asked[JudgedCandidate]:
        live, folder = self._live, self._where.folder
        compiled = live.compiled if live is not None else None
        question = partial(judge_candidate, self._where, self._around, now=self._clock().wall, live=compiled)
        size = self._size(folder / CANDIDATE) if folder is not None else 0
        if size and compiled is not None:
            size += compiled.size
        return Asked(question, size, partial(self._take_candidate, compiled))

    def _ask_switches(self) -> Asked[JudgedSwitches]:
        """Always in place: a stop waits for no other process."""
        return Asked(partial(judge_switches, self._where, now=self._clock().wall), 0, self._take_switches)

    def _size(self, file: Path) -> int:
        """Bytes to compile. 0 where there is no such file, and at the start: nobody is served yet."""
        try:
            return file.stat().st_size if self._serving else 0
        except (OSError, ValueError):
            return 0

    def _policy_not_judged(self, why: str) -> JudgedPolicy:
        return JudgedPolicy(None, (Problem(self._where.name, _START, "", why),))

    def _candidate_not_judged(self, why: str) -> JudgedCandidate:
        return JudgedCandidate(None, (Problem(CANDIDATE, _START, "", why),))

    def _switches_not_judged(self, why: str) -> JudgedSwitches:
        return JudgedSwitches(None, (Problem(SWITCHES, _START, "", why),))

    def _take_policy(self, answer: Answer[JudgedPolicy]) -> None:
        judged = answer.verdict
        self._policy_problems = judged.problems
        if judged.compiled is not None:
            previous = self._live.version if self._live is not None else None
            self.snapshot = self._live = CompiledPolicy(judged.compiled, overlay=self._overlay)
            self._judged_candidate = None
            self.loaded_at = self._clock()
            self._candidate.forget()
            self._on_snapshot(self.snapshot)
            self._tell_loaded(self.snapshot, previous, answer.remark)
        self._tell_rejected(judged.problems)

    def _take_candidate(self, compiled: Compiled | None, answer: Answer[JudgedCandidate]) -> None:
        live = self._live
        if live is None or compiled is not live.compiled:  # the policy changed meanwhile
            self._candidate.forget()
            return
        self._candidate_problems = answer.verdict.problems
        self._judged_candidate = answer.verdict
        self.candidate = _candidate(answer.verdict, live)
        self._on_candidate(self.candidate)
        self._tell_rejected(answer.verdict.problems)

    def _take_switches(self, answer: Answer[JudgedSwitches]) -> None:
        judged = answer.verdict
        self._switch_problems = judged.problems
        if judged.switches is not None:
            self._on_file_switches(judged.switches)
        self._tell_rejected(judged.problems)

    def _tell_loaded(self, snapshot: Snapshot, previous: str | None, remark: str | None) -> None:
        fields = {
            "version": snapshot.version,
            "previous": previous,
            "warnings": [*snapshot.warnings, *([remark] if remark else [])],
            "overrides": list(snapshot.overrides),
        }
        self._emit(Event("policy_loaded", self._clock(), fields))

    def _tell_rejected(self, problems: tuple[Problem, ...]) -> None:
        if not problems:
            return
        first = problems[0]
        fields = {
            "file": first.file,
            "line": first.place.line,
            "column": first.place.column,
            "key": first.key,
            "problem": first.text,
            "problems": list(lines(problems)),
        }
        self._emit(Event("policy_rejected", self._clock(), fields))
