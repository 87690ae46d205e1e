"""Files read so that nothing can block or be missed: regular files only, each once a look, compared by content and not by time."""

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

Question = tuple[Path, int | frozenset[str]]
"""A file and the most bytes to read of it, or a folder and the names that do not matter."""
Seen = Mapping[Question, bytes | str]
"""How files and folders looked: a digest, or why there was nothing to read."""


class Unreadable(Exception):
    """Why a file cannot be used, in words that follow its name."""


class Reading:
    """One look at the disk, remembered: what is compared later is exactly what was used now."""

    def __init__(self) -> None:
        self._seen: dict[Question, bytes | str] = {}

    @property
    def seen(self) -> Seen:
        return self._seen

    def content(self, path: Path, largest: int) -> bytes:
        """The file's bytes, or its first `largest + 1` where it is larger. Raises Unreadable."""
        return self._remember((path, largest), partial(_read, path, largest))

    def names(self, folder: Path, apart_from: frozenset[str] = frozenset()) -> tuple[str, ...]:
        """What the folder holds apart from these and hidden files, sorted. Raises Unreadable."""
        listing = self._remember((folder, apart_from), partial(_list, folder, apart_from))
        return tuple(os.fsdecode(name) for name in listing.split(b"\0")) if listing else ()

    def _remember(self, key: Question, read: Callable[[], bytes]) -> bytes:
        try:
            content = read()
        except Unreadable as error:
            self._seen[key] = str(error)
            raise
        self._seen[key] = hashlib.sha256(content).digest()
        return content


def look_again(seen: Seen) -> Seen:
    """How the same files look now."""
    reading = Reading()
    for path, how in seen:
        try:
            if isinstance(how, frozenset):
                reading.names(path, how)
            else:
                reading.content(path, how)
        except Unreadable:
            continue  # remembered as such
    return reading.seen


def _list(folder: Path, apart_from: frozenset[str]) -> bytes:
    try:
        names = (entry.name for entry in folder.iterdir())
        return b"\0".join(sorted(os.fsencode(n) for n in names if n not in apart_from and not n.startswith(".")))
    except (OSError, ValueError) as error:
        raise Unreadable(_why(error)) from None


def _read(path: Path, largest: int) -> bytes:
    try:
        # Neither a FIFO without a writer nor a terminal may hold us up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise Unreadable(_why(error)) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable("is not a regular file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(largest + 1)
    except OSError as error:
        raise Unreadable(_why(error)) from None
    finally:
        os.close(descriptor)


def _why(error: OSError | ValueError) -> str:
    number = error.errno if isinstance(error, OSError) else None
    if number is None:
        return "is not a path"
    known = {
        errno.ENOENT: "does not exist",
        errno.EACCES: "may not be read by this user",
        errno.ENXIO: "is not a regular file",
    }
    return known.get(number, f"cannot be read ({os.strerror(number).lower()})")
