"""The journal: what changed since the store was last written, in files beside it. One write to the kernel a change, no fsync.

Where a write fails nothing more is written to that file: the next one takes over once the store has all that was before it.
"""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.denial import Reason
from gateway.model import Moment, RunKey
from gateway.state.journal import Charge
from gateway.state.stores import ELSEWHERE, StoreError
from gateway.state.stores.records import CHARGE, END, HEADER, REFUND, STEP, Entry, entries, record

LARGEST = 16 << 20
"""Bytes of all files together: some 200,000 calls that the store could not take yet, read again at a start within two seconds."""
LARGEST_READ = 4 * LARGEST
"""Bytes: no gateway writes a file so large."""
LARGEST_STEP: Final = 2**31 - 1

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
"""The store keeps integers of 64 bits."""
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_APPENDED = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW


class File:
    """One of the journal's files. The store remembers the number of the last one that it covers."""

    __slots__ = ("descriptor", "number", "path", "size")

    def __init__(self, path: Path, number: int, descriptor: int | None, size: int) -> None:
        self.path = path
        self.number = number
        self.descriptor = descriptor
        """None: an earlier process wrote it."""
        self.size = size

    @property
    def gone(self) -> bool:
        """Somebody deleted it: what is written to it, nobody will find."""
        return self.descriptor is not None and not os.fstat(self.descriptor).st_nlink

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


class FileJournal:
    """A Journal (gateway/state/journal.py). The loop appends and rotates; a worker thread makes the next file ready and deletes old ones.

    Two files stand ready: the one being written, and the next, so that no call and no rotation waits for a folder.
    """

    def __init__(self, store: Path, largest: int = LARGEST) -> None:
        self._store = store
        self.problem: str | None = self._error("has no file yet", f"look at its volume, {ELSEWHERE}")
        """Why nothing is written (any more), until the next rotation."""
        self._largest = largest
        self._file: File | None = None
        self._next: File | None = None
        self._older: list[File] = []
        """Not covered by the store yet."""
        self._older_size = 0
        self._number = 0
        self._gathered: list[bytes] = []
        self._lost = False
        """Some of what was gathered, since the last flush."""

    def charged(self, charge: Charge, began: float) -> bool:
        return self._append(_of_charge(CHARGE, charge, began))

    def gathered(self, charge: Charge, began: float) -> None:
        self._gathered.append(_of_charge(CHARGE, charge, began))

    def flush(self) -> bool:
        kept = not self._gathered or self._append(b"")
        lost, self._lost = self._lost, False
        return kept and not lost

    def refunded(self, charge: Charge, began: float) -> bool:
        return self._append(_of_charge(REFUND, charge, began))

    def stepped(self, key: RunKey, at: Moment, began: float) -> bool:
        return self._append(record(STEP, key, began, at.wall, 0, 0, ""))

    def ended(self, key: RunKey, by: Reason, stop_reason: str, at: Moment, began: float) -> bool:
        return self._append(record(END, key, began, at.wall, 0, 0, f"{by}\0{stop_reason}"))

    def _append(self, written: bytes) -> bool:
        """On the call's path: one write, or none where the last one failed. What was gathered before goes first."""
        if self._gathered:
            return self._append_all(written)
        file = self._file
        if self.problem is not None or file is None or file.descriptor is None:
            return False
        if file.size + self._older_size > self._largest:
            self.problem = self._error("is full, since the database beside it cannot be written", "see to that first")
            return False
        try:
            done = os.write(file.descriptor, written)
        except OSError as error:
            self.problem = self._explained(error)
            return False
        file.size += done
        if done < len(
            written
        ):  # the disk is full in the middle of a record: the next process will not believe it either
            self.problem = self._explained(OSError(errno.ENOSPC, ""))
            return False
        return True

    def _gather_in(self) -> None:
        """The ledger has it already: it belongs to this file, not to the next."""
        if self._gathered:
            self._append(b"")

    def _append_all(self, last: bytes) -> bool:
        written, self._gathered = b"".join((*self._gathered, last)), []
        kept = self._append(written)
        self._lost = self._lost or not kept
        return kept

    @property
    def ready(self) -> bool:
        """There is a file to rotate to."""
        return self._next is not None

    @property
    def unsaved(self) -> bool:
        """Something stands in it that the store does not cover."""
        return bool(self._older) or (self._file is not None and self._file.size > len(HEADER))

    def rotate(self) -> int:
        """From now on the next file is written. The number of the last one before: a store that has what the ledger holds at this
        instant covers it, and all before it.
        """
        self._gather_in()
        before, self._file, self._next = self._file, self._next, None
        if before is not None:
            self._older.append(before)
            self._older_size += before.size
        self.problem = None
        return self._number - 1

    def left(self, covered: int) -> Iterator[tuple[list[Entry], str | None]]:
        """What an earlier process left and the store does not cover, a file at a time, with a warning where its end cannot be read.

        To be read to its end before `prepare`. Raises StoreError.
        """
        self._number = covered
        for number, path in self._on_disk():
            self._number = max(self._number, number)
            data = _read(path) if number > covered else b""
            self._older.append(File(path, number, None, len(data)))
            self._older_size += len(data)
            if number > covered:
                found, rest = entries(data)
                yield found, _warning(path, rest) if rest and len(data) > len(HEADER) else None

    @property
    def last(self) -> int:
        """The number of the newest file."""
        return self._number

    def prepare(self) -> None:
        """Makes the next file ready, where it is not, and looks whether both are still there. Blocks. Raises StoreError."""
        try:
            if self._file is not None and self._file.gone:
                self.problem = self._error("was deleted while in use", "keep other programs away from it")
            if self._next is not None and self._next.gone:
                self._next.close()
                self._next = None
            if self._next is None:
                self._next = self._made(self._number + 1)
        except OSError as error:
            raise StoreError(self._explained(error)) from None

    def drop(self, covered: int) -> None:
        """The store covers these: deletes them. Blocks. Raises StoreError."""
        try:
            for file in [file for file in self._older if file.number <= covered]:
                file.path.unlink(missing_ok=True)
                file.close()
                self._older.remove(file)
        except OSError as error:
            raise StoreError(self._explained(error)) from None
        finally:
            self._older_size = sum(file.size for file in self._older)

    def close(self) -> None:
        """Files that the store does not cover stay, for the next process."""
        self._gather_in()
        for file in (self._file, self._next):
            if file is not None and file.size <= len(HEADER):
                with suppress(OSError):
                    file.path.unlink(missing_ok=True)
        for file in (self._file, self._next, *self._older):
            if file is not None:
                file.close()
        self._file = self._next = None

    def _made(self, number: int) -> File:
        path = self._path(number)
        descriptor = os.open(path, _APPENDED, 0o600)
        try:
            if os.write(descriptor, HEADER) < len(HEADER):
                raise OSError(errno.ENOSPC, "")
        except OSError:
            os.close(descriptor)
            with suppress(OSError):
                path.unlink()
            raise
        self._number = number
        return File(path, number, descriptor, len(HEADER))

    def _path(self, number: int | str) -> Path:
        return self._store.with_name(f"{self._store.name}.journal.{number}")

    def _on_disk(self) -> list[tuple[int, Path]]:
        """Oldest first. Raises StoreError."""
        prefix = self._path("").name
        try:
            names = [path.name for path in self._store.parent.iterdir() if path.name.startswith(prefix)]
        except OSError as error:
            raise StoreError(self._explained(error)) from None
        numbers = [name.removeprefix(prefix) for name in names]
        return sorted((int(number), self._path(number)) for number in numbers if _NUMBER.fullmatch(number))

    def _explained(self, error: OSError) -> str:
        if error.errno in _FULL:
            return self._error("cannot grow", f"free space on its volume, {ELSEWHERE}")
        problem = f"cannot be written ({os.strerror(error.errno or 0)})"
        if error.errno in _FORBIDDEN:
            return self._error(problem, f"let the gateway's user write to its directory, {ELSEWHERE}")
        return self._error(problem, f"look at its volume, {ELSEWHERE}")

    def _error(self, problem: str, remedy: str) -> str:
        return f"GATEWAY_STATE: the journal beside {self._store} {problem}: {remedy}"


def _of_charge(kind: bytes, charge: Charge, began: float) -> bytes:
    step = 0 if charge.step is None else min(charge.step, LARGEST_STEP)
    return record(kind, charge.key, began, charge.at.wall, charge.spend, step, charge.tool)


def _warning(path: Path, rest: int) -> str:
    return f"GATEWAY_STATE: the last {rest} bytes of {path} were not written whole: charges of a moment before may be missing"


def _read(path: Path) -> bytes:
    """Whoever else may write to the folder cannot have the start wait for ever, or read for ever, or read some other file.
    Raises StoreError.
    """
    try:
        with open(path, "rb", opener=lambda name, _: os.open(name, _READ)) as file:
            there = os.fstat(file.fileno())
            if not stat.S_ISREG(there.st_mode) or there.st_size > LARGEST_READ:
                raise OSError(errno.EINVAL, "")
            return file.read()
    except OSError as error:
        what = (
            "no journal of a gateway" if error.errno in (errno.EINVAL, errno.ELOOP) else os.strerror(error.errno or 0)
        )
        remedy = "let the gateway's user read it, or move it away to start without the charges of the last second"
        raise StoreError(f"GATEWAY_STATE: {path} cannot be read ({what}): {remedy}") from None
