"""Makes a screenshot small: the same picture with 256 colours, which is nearly all that a page of text has."""

import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MOST_COLOURS = 256
Colour = tuple[int, ...]


def shrink(path: Path) -> None:
    """Of 8 bits a channel, not interlaced, as browsers write them."""
    chunks = list(_chunks(path.read_bytes()))
    width, height, depth, kind = struct.unpack(">IIBB", chunks[0][1][:10])
    assert (depth, kind in (2, 6)) == (8, True)
    size = 3 if kind == 2 else 4
    rows = _rows(
        zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT")), width * size, height, size
    )
    pixels = [[tuple(row[at : at + 3]) for at in range(0, len(row), size)] for row in rows]
    palette, index = _palette(Counter(pixel for row in pixels for pixel in row))
    body = b"".join(b"\0" + bytes(index[pixel] for pixel in row) for row in pixels)
    path.write_bytes(
        SIGNATURE
        + _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0))
        + _chunk(b"PLTE", bytes(part for colour in palette for part in colour))
        + _chunk(b"IDAT", zlib.compress(body, 9))
        + _chunk(b"IEND", b"")
    )


def _palette(counted: "Counter[Colour]") -> tuple[list[Colour], dict[Colour, int]]:
    """The most common colours, no two of them too near; and which of them each colour becomes."""
    palette: list[Colour] = []
    for near in (24, 0):
        for colour, _ in counted.most_common():
            if len(palette) == MOST_COLOURS:
                break
            if all(_distance(colour, other) > near for other in palette):
                palette.append(colour)
    return palette, {
        colour: min(range(len(palette)), key=lambda n: _distance(colour, palette[n])) for colour in counted
    }


def _distance(one: Colour, other: Colour) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(SIGNATURE)
    while at < len(png):
        size = int.from_bytes(png[at : at + 4])
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + size]
        at += 12 + size


def _chunk(name: bytes, body: bytes) -> bytes:
    return len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4)


def _rows(raw: bytes, width: int, height: int, size: int) -> Iterator[bytes]:
    """Without their filters (PNG specification, 9.2)."""
    above = bytes(width)
    for number in range(height):
        start = number * (width + 1)
        row = bytearray(raw[start + 1 : start + 1 + width])
        kind = raw[start]
        for at in range(width if kind else 0):
            left = row[at - size] if at >= size else 0
            corner = above[at - size] if at >= size else 0
            guess = (0, left, above[at], (left + above[at]) // 2, _paeth(left, above[at], corner))[kind]
            row[at] = (row[at] + guess) & 0xFF
        above = bytes(row)
        yield above


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))
