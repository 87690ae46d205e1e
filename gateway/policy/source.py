"""Where the policy comes from: reads the folder, watches it, swaps whole snapshots, keeps the last good one."""

import asyncio
import gc
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from gateway.model import Event, KillSwitch, Moment
from gateway.policy.compile import CompiledPolicy
from gateway.policy.document.problems import PolicyError, Problem, lines
from gateway.policy.folder import (
    JudgedCandidate,
    JudgedPolicy,
    JudgedSwitches,
    Location,
    Surroundings,
    judge_candidate,
    judge_policy,
    judge_switches,
    judge_text,
)
from gateway.policy.reading import Reading, Seen, look_again
from gateway.policy.snapshot import Candidate, Snapshot

T = TypeVar("T")

POLL_SECONDS = 0.25
"""Between two looks at the files. With settling, reading and compiling a change is in effect within the promised second."""
SETTLE_SECONDS = 0.05
MOST_LOOKS = 4
"""A file that still changes after that many settling looks (200 ms in all) is taken as it is."""


class Checked(NamedTuple):
    """What `check` tells."""

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
    beside = judge_candidate(where, around, reading, now, judged.snapshot)
    problems = judged.problems + beside.problems + judge_switches(where, reading, now).problems
    warnings = judged.snapshot.warnings if judged.snapshot is not None else ()
    if problems:
        return Checked(None, lines(problems), warnings)
    return Checked(judged.snapshot, (), warnings, beside.candidate)


class _Watched(Generic[T]):
    """Files that are judged together, and how they looked when they were."""

    def __init__(self, judge: Callable[[Reading], T], take: Callable[[T], None]) -> None:
        self.take = take
        self.lock = asyncio.Lock()
        self._judge = judge
        self._seen: Seen | None = None

    def judge(self) -> T | None:
        """The verdict on what is there now; None where it looks as it did at the last one."""
        reading = Reading()
        verdict = self._judge(reading)
        if reading.seen == self._seen:
            return None
        self._seen = reading.seen
        return verdict

    def look(self) -> Seen:
        """How the files of the last judgement look now."""
        return look_again(self._seen or {})

    def differs(self) -> bool:
        return self.look() != self._seen

    def forget(self) -> None:
        """What they were judged by has changed: the next look finds that they differ."""
        self._seen = None


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
        emit: Callable[[Event], None],
        clock: Callable[[], Moment],
        on_snapshot: Callable[[Snapshot], None],
        on_candidate: Callable[[Candidate | None], None],
        on_file_switches: Callable[[tuple[KillSwitch, ...]], None],
    ) -> None:
        self._around = Surroundings(environ, upstream, own_listeners, budgets, agent_id)
        self._emit = emit
        self._clock = clock
        self._on_snapshot = on_snapshot
        self._on_candidate = on_candidate
        self._on_file_switches = on_file_switches
        self._where = Location.of(path)
        self._policy = _Watched(self._judge_policy, self._take_policy)
        self._candidate = _Watched(self._judge_candidate, self._take_candidate)
        self._switches = _Watched(self._judge_switches, self._take_switches)
        self._live: CompiledPolicy | None = None
        self._policy_problems: tuple[Problem, ...] = ()
        self._candidate_problems: tuple[Problem, ...] = ()
        self._switch_problems: tuple[Problem, ...] = ()
        self._at_work = 0
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
        if policy.problems or switches.problems:
            raise PolicyError(policy.problems + switches.problems)
        self._take_policy(policy)
        candidate = self._candidate.judge()
        if candidate is not None:
            self._take_candidate(candidate)
        self._take_switches(switches)

    async def watch(self) -> None:
        """Follows the files until cancelled."""
        try:
            followed = self._follow(self._policy), self._follow(self._candidate), self._follow(self._switches)
            await asyncio.gather(*followed)
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def reload(self) -> tuple[str, ...]:
        """Reads everything now. The problems, if any."""
        await self._renew(self._switches)
        await self._renew(self._policy)
        await self._renew(self._candidate)
        return self.problems

    async def check(self, text: bytes) -> tuple[Snapshot | None, tuple[str, ...]]:
        """What a policy of this text would be, here and now. It is not put in force."""
        judge = partial(judge_text, text, self._where.name, self._around, Reading(), self._clock().wall)
        snapshot, problems = await self._off_loop(judge)
        return snapshot, lines(problems)

    async def _follow(self, watched: _Watched[T]) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                if await self._off_loop(watched.differs):
                    await self._settle(watched)
                    await self._renew(watched)
            except Exception as error:  # noqa: BLE001  a watcher that died would freeze the policy without a word
                self._tell_rejected((self._where.internal_error(error),))

    async def _settle(self, watched: _Watched[T]) -> None:
        """Waits until two looks agree, so that a file is not read half written."""
        before = await self._off_loop(watched.look)
        for _ in range(MOST_LOOKS):
            await asyncio.sleep(SETTLE_SECONDS)
            now = await self._off_loop(watched.look)
            if now == before:
                return
            before = now

    async def _renew(self, watched: _Watched[T]) -> None:
        async with watched.lock:
            verdict = await self._off_loop(watched.judge)
            if verdict is not None:
                watched.take(verdict)

    async def _off_loop(self, function: Callable[[], T]) -> T:
        """In a thread, with the garbage collector at rest: walking all that a large policy makes would hold up every thread."""
        self._at_work += 1
        gc.disable()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._at_work -= 1
            if not self._at_work:
                gc.enable()

    def _judge_policy(self, reading: Reading) -> JudgedPolicy:
        return judge_policy(self._where, self._around, reading, self._clock().wall)

    def _judge_candidate(self, reading: Reading) -> JudgedCandidate:
        return judge_candidate(self._where, self._around, reading, self._clock().wall, self._live)

    def _judge_switches(self, reading: Reading) -> JudgedSwitches:
        return judge_switches(self._where, reading, self._clock().wall)

    def _take_policy(self, judged: JudgedPolicy) -> None:
        self._policy_problems = judged.problems
        if judged.snapshot is not None:
            previous = self._live.version if self._live is not None else None
            self.snapshot = self._live = judged.snapshot
            self.loaded_at = self._clock()
            self._candidate.forget()
            self._on_snapshot(judged.snapshot)
            self._tell_loaded(judged.snapshot, previous)
        self._tell_rejected(judged.problems)

    def _take_candidate(self, judged: JudgedCandidate) -> None:
        if judged.live is not self._live:  # the policy changed meanwhile
            self._candidate.forget()
            return
        self._candidate_problems = judged.problems
        self.candidate = judged.candidate
        self._on_candidate(judged.candidate)
        self._tell_rejected(judged.problems)

    def _take_switches(self, judged: JudgedSwitches) -> None:
        self._switch_problems = judged.problems
        if judged.switches is not None:
            self._on_file_switches(judged.switches)
        self._tell_rejected(judged.problems)

    def _tell_loaded(self, snapshot: Snapshot, previous: str | None) -> None:
        fields = {
            "version": snapshot.version,
            "previous": previous,
            "warnings": list(snapshot.warnings),
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
