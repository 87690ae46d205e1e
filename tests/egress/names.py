"""A DNS server of the tests' own, over UDP: what it answers may differ from one look-up to the next."""

import socket
from collections import Counter
from ipaddress import ip_address

ADDRESS, ALIAS, ADDRESS_6 = 1, 5, 28
NO_SUCH_NAME = 3


class NameServer:
    """Answers from `answers`: for a name the addresses of its first look-up, of its second, …; the last one repeats."""

    def __init__(self) -> None:
        self.answers: dict[str, list[list[str]]] = {}
        self.otherwise: list[str] | None = None
        """For every other name; None: there is no such name."""
        self.aliases: dict[str, str] = {}
        """CNAMEs, followed in the answer as a resolver would."""
        self.asked: Counter[tuple[str, int]] = Counter()

    def look_ups(self) -> dict[str, int]:
        """How often each name was looked up: both families are asked for in one look-up."""
        names = {name for name, _ in self.asked}
        return {name: max(n for (asked, _), n in self.asked.items() if asked == name) for name in names}

    def read(self, questions: socket.socket) -> None:
        while True:
            try:
                message, asker = questions.recvfrom(4096)
            except BlockingIOError:
                return
            questions.sendto(self.answer(message), asker)

    def answer(self, message: bytes) -> bytes:
        """RFC 1035, 4.1. Additional records of the question (EDNS) are left out."""
        name, end = _name(message, 12)
        question = message[12 : end + 4]
        kind = int.from_bytes(message[end : end + 2])
        turn = self.asked[name, kind]
        self.asked[name, kind] += 1
        records = []
        at = name
        while (to := self.aliases.get(at)) is not None:
            records.append(_record(at, ALIAS, _wire(to)))
            at = to
        rounds = self.answers.get(at, [self.otherwise] if self.otherwise else None)
        if rounds is not None:
            packed = [ip_address(text).packed for text in rounds[min(turn, len(rounds) - 1)]]
            records += [
                _record(at, kind, data) for data in packed if len(data) == {ADDRESS: 4, ADDRESS_6: 16}.get(kind)
            ]
        flags = 0x8180 | (0 if rounds is not None else NO_SUCH_NAME)
        counts = [1, len(records), 0, 0]
        return message[:2] + flags.to_bytes(2) + b"".join(n.to_bytes(2) for n in counts) + question + b"".join(records)


def _name(message: bytes, at: int) -> tuple[str, int]:
    labels = []
    while size := message[at]:
        labels.append(message[at + 1 : at + 1 + size].decode().lower())
        at += 1 + size
    return ".".join(labels), at + 1


def _wire(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def _record(name: str, kind: int, data: bytes) -> bytes:
    """With a TTL of 0, so that whoever caches does so against the server's word."""
    return _wire(name) + kind.to_bytes(2) + b"\0\1" + b"\0\0\0\0" + len(data).to_bytes(2) + data
