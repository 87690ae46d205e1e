"""Raw requests, bent at random: a kept corpus, and the ways in which it is changed. Pure: hypothesis draws, these functions apply."""

import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies

CORPUS = [path.read_bytes() for path in sorted((Path(__file__).parent / "requests").iterdir())]
"""A request that once did harm is added here as a file, and stays."""
MORSELS = [
    *(b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b"\t", b" ", b"\x0b", b"\x7f", b"\xff", b"\xc2\x85", b";", b",", b":", b"%00", b"/../"),
    *(b"Content-Length: 5\r\n", b"Content-Length: +5\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding:\x0bchunked\r\n"),
    *(b"Host: a\r\n", b"Connection: close\r\n", b"Connection: Content-Length\r\n", b"Upgrade: websocket\r\n", b" folded\r\n"),
    *(b"0\r\n\r\n", b"1\r\n", b"ffffffffffffffff\r\n", b"-1", b"0x", b"HTTP/2.0", b"HTTP/0.9", b"TRACE ", b"x" * 20_000),
]  # fmt: skip


class Mutation(NamedTuple):
    """`at` and `to` are taken modulo what they point into."""

    how: Callable[[bytes, "Mutation"], bytes]
    at: int
    to: int
    morsel: bytes


def flip(data: bytes, by: Mutation) -> bytes:
    at = by.at % len(data)
    return data[:at] + bytes([data[at] ^ (1 << by.to % 8)]) + data[at + 1 :]


def insert(data: bytes, by: Mutation) -> bytes:
    at = by.at % (len(data) + 1)
    return data[:at] + by.morsel + data[at:]


def remove(data: bytes, by: Mutation) -> bytes:
    at = by.at % len(data)
    return data[:at] + data[at + 1 + by.to % 20 :]


def repeat(data: bytes, by: Mutation) -> bytes:
    at = by.at % len(data)
    piece = data[at : at + 1 + by.to % 100]
    return data[:at] + piece * (2 if by.to % 10 else 2000) + data[at + len(piece) :]


def splice(data: bytes, by: Mutation) -> bytes:
    other = CORPUS[by.to % len(CORPUS)]
    return data[: by.at % len(data)] + other[by.to % len(other) :]


def append(data: bytes, by: Mutation) -> bytes:
    return data + CORPUS[by.at % len(CORPUS)]


def renumber(data: bytes, by: Mutation) -> bytes:
    numbers = [*re.finditer(rb"[0-9]+", data)]
    if not numbers:
        return data
    number = numbers[by.at % len(numbers)]
    return data[: number.start()] + b"%d" % (by.to % 300) + data[number.end() :]


def repeat_line(data: bytes, by: Mutation) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(by.to % len(lines), lines[by.at % len(lines)])
    return b"\r\n".join(lines)


def remove_line(data: bytes, by: Mutation) -> bytes:
    lines = data.split(b"\r\n")
    lines.pop(by.at % len(lines))
    return b"\r\n".join(lines)


def swap_lines(data: bytes, by: Mutation) -> bytes:
    lines = data.split(b"\r\n")
    one, other = by.at % len(lines), by.to % len(lines)
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


WAYS = [flip, insert, insert, remove, repeat, splice, append, renumber, repeat_line, remove_line, swap_lines]
_number = strategies.integers(0, 5000)
_mutation = strategies.builds(
    Mutation, strategies.sampled_from(WAYS), _number, _number, strategies.sampled_from(MORSELS)
)


class Bent(NamedTuple):
    """A request, changed, and where it is split into several writes."""

    request: bytes
    mutations: list[Mutation]
    splits: list[int]

    def writes(self) -> list[bytes]:
        data = self.request
        for mutation in self.mutations:
            if data:
                data = mutation.how(data, mutation)
        at = [0, *sorted(split % (len(data) + 1) for split in self.splits), len(data)]
        return [data[start:end] for start, end in pairwise(at)]


bent = strategies.builds(
    Bent,
    strategies.sampled_from(CORPUS),
    strategies.lists(_mutation, max_size=4),
    strategies.lists(_number, max_size=2),
)
