"""Reply heads that need no parsing, since aiohttp's parser and our own rules have taken those very bytes before. Pure."""

import re
from typing import Final, NamedTuple

from gateway.model import ReplyHead

END_OF_HEAD: Final = b"\r\n\r\n"
LONGEST_BODY = 64 * 1024
MOST_HEADS = 64
"""Remembered of one upstream. Heads carry a Date, so that most of them are soon of no use."""
LONGEST_HEAD = 4096
"""Bytes: longer ones are read anew each time, or an upstream could fill memory with them."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,9})[ \t]*\r\n", re.IGNORECASE)


class Known(NamedTuple):
    """What a head says. Behind such a reply its connection can be used again."""

    head: ReplyHead
    length: int


class KnownHeads:
    """The heads of one upstream by their bytes, the oldest forgotten first."""

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}

    def find(self, head: bytes) -> Known | None:
        """What these bytes say, up to and including the empty line."""
        return self._known.get(head)

    def remember(self, head: bytes, known: Known) -> None:
        """Only what was read in the ordinary way."""
        if len(head) > LONGEST_HEAD:
            return
        if len(self._known) >= MOST_HEADS and head not in self._known:
            del self._known[next(iter(self._known))]
        self._known[head] = known


def wants_more(data: bytes) -> bool:
    """Is this the beginning of a short reply with a length? A guess: nothing is decided by it but to wait for the rest."""
    end = data.find(END_OF_HEAD)
    if end < 0:
        return False
    found = _LENGTH.search(data, 0, end + 2)
    return found is not None and len(data) - end - len(END_OF_HEAD) < int(found[1]) <= LONGEST_BODY
