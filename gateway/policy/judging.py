"""Where policies are judged: small ones here, large ones in a process of their own, so that calls feel neither the work nor the memory.

Such a process is started for one question and ends with its answer. It reads the files itself; secrets pass through pipes alone.
"""

import gc
import pickle
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

import gateway.policy.folder  # noqa: F401  what questions are made of: loaded before a process says that it is ready
from gateway.policy.packed import pack
from gateway.policy.reading import Reading, Seen

T = TypeVar("T")
Question = Callable[[Reading], T]
"""A function of folder.py and all that it needs beside the reading. Can be pickled."""

SMALL = 64 * 1024
"""Bytes. So much is compiled in no more time than a process takes to start, and where no memory is left for one."""
LONGEST_SECONDS = 60
_MOST_MEMORY = 1 << 30
"""Bytes of addresses: several times what the largest policy takes."""
_READY = b"ready"
_PROCESS = "import sys; sys.path[:] = sys.argv[1:]; from gateway.policy.judging import answer; answer()"
_OUT_OF_MEMORY_SCORE = Path("/proc/self/oom_score_adj")


class NotJudgedError(Exception):
    """Why there is no answer: a sentence."""


class _CannotStartError(Exception):
    """Why a process of its own is not to be had: a few words."""


class Answer(NamedTuple, Generic[T]):
    """The verdict on some files."""

    verdict: T
    seen: Seen
    """How the files looked that it is about."""
    remark: str | None = None
    """What an operator should know of the way it was found."""


class Judge:
    """Answers questions about policy files, large ones in a process of their own. May be asked from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._here = 0

    def ask(self, question: Question[T], size: int) -> Answer[T]:
        """Raises NotJudgedError. `size`: bytes that have to be compiled."""
        if size <= SMALL:
            return self._answer_here(question)
        try:
            return self._ask_process(question)
        except _CannotStartError as error:
            remark = f"compiled within the gateway's own process, where calls may have felt it: {error}"
            return self._answer_here(question)._replace(remark=remark)

    def close(self) -> None:
        """Ends what is at work."""
        with self._lock:
            for process in self._processes:
                process.kill()

    def _answer_here(self, question: Question[T]) -> Answer[T]:
        """With the garbage collector at rest: walking all that a policy is made of would hold up every thread."""
        with self._lock:
            self._here += 1
            gc.disable()
        try:
            reading = Reading()
            return Answer(question(reading), reading.seen)
        finally:
            with self._lock:
                self._here -= 1
                if not self._here:
                    gc.enable()

    def _ask_process(self, question: Question[T]) -> Answer[T]:
        process = self._start()
        try:
            answered, _ = process.communicate(pack(question), timeout=LONGEST_SECONDS)
        except subprocess.TimeoutExpired:
            raise NotJudgedError(f"takes longer than {LONGEST_SECONDS} seconds to compile: make it smaller") from None
        finally:
            with self._lock:
                self._processes.discard(process)
            process.kill()
            process.communicate()
        if process.returncode >= 0 and not answered.startswith(_READY):
            raise _CannotStartError(f"another one ended with exit code {process.returncode} before it was ready")
        if process.returncode != 0:
            how = f"signal {-process.returncode}" if process.returncode < 0 else f"exit code {process.returncode}"
            raise NotJudgedError(f"the process that compiled it ended with {how}, for want of memory perhaps")
        verdict, seen = pickle.loads(memoryview(answered)[len(_READY) :])  # noqa: S301  written by `answer`, our own code
        return Answer(verdict, seen)

    def _start(self) -> "subprocess.Popen[bytes]":
        """As this process was started, with its path for modules, but none of its variables for Python."""
        if not sys.executable:
            raise _CannotStartError("Python does not know its own program")
        with self._lock:
            try:
                process = subprocess.Popen(  # noqa: S603  our own interpreter and code
                    [sys.executable, "-I", "-S", "-c", _PROCESS, *sys.path],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,  # a traceback could repeat values
                    start_new_session=True,  # Ctrl-C is for the gateway
                )
            except OSError as error:
                raise _CannotStartError(
                    f"no other could be started ({(error.strerror or 'no reason given').lower()})"
                ) from None
            self._processes.add(process)
            return process


def answer() -> None:
    """What a judging process does from its start to its end: it reads one question and writes the answer."""
    _be_modest()
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    question = pickle.load(sys.stdin.buffer)  # noqa: S301  from the process that started this one
    reading = Reading()
    sys.stdout.buffer.write(pack((question(reading), reading.seen)))
    sys.stdout.buffer.flush()


def _be_modest() -> None:
    """Ends by itself when nobody waits any more, takes no memory without bound, and goes before the gateway where there is too little."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(LONGEST_SECONDS + 5)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    if hard == resource.RLIM_INFINITY or hard > _MOST_MEMORY:
        resource.setrlimit(resource.RLIMIT_AS, (_MOST_MEMORY, hard))
    with suppress(OSError):  # only Linux has it
        _OUT_OF_MEMORY_SCORE.write_text("1000")
    gc.disable()
