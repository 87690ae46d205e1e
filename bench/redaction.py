"""How fast the log's redactor reads, in MB/s on one core, by kind of input. Goal: 5 MB/s whatever the input.

python -m bench.redaction [--size 3072] [--seconds 0.5]
"""

import argparse
import base64
import json
import random
import time
import uuid
from collections.abc import Callable
from itertools import count
from statistics import median
from string import ascii_letters, digits
from urllib.parse import quote_plus

from gateway.observers.redaction.redact import Redactor
from gateway.policy.snapshot import Redaction

_dice = random.Random(5)
_WORDS = [
    "the",
    "order",
    "was",
    "sent",
    "from",
    "our",
    "store",
    "in",
    "spring",
    "and",
    "arrives",
    "within",
    "three",
    "days",
    "at",
    "noon",
]


def prose() -> str:
    return " ".join(_dice.choices(_WORDS, k=12)).capitalize() + ". "


def support() -> str:
    return f"{prose()}Write to {_dice.choice(_WORDS)}.{_dice.choice(_WORDS)}@example.com or call +49 30 {_dice.randrange(10**6, 10**7)}. "


def log_line() -> str:
    return (
        f"2026-09-21T14:{_dice.randrange(10, 60)}:20.250Z INFO web[{_dice.randrange(9999)}] GET /v1/items/{_dice.randrange(10**8)}"
        f"?page=2 200 {_dice.randrange(900)}ms req={uuid.UUID(int=_dice.getrandbits(128))}\n"
    )


def code() -> str:
    name = "_".join(_dice.choices(_WORDS, k=2))
    return f"def {name}(self, key: str = 'x') -> int:\n    return self.token[{_dice.randrange(99)}] + len(key)\n"


def form() -> str:
    return f"name=J.+Doe&comment={quote_plus(prose() * 2)}&mail=a%40example.com&item={_dice.randrange(10**6)}&token=x1&"


def secret() -> str:
    return _dice.choice(
        [
            f"ghp_{_letters(36)}",
            f"AKIA{_letters(16).upper()}",
            f"sk-ant-api03-{_letters(90)}",
            f"{_dice.choice(_WORDS)}{_dice.randrange(99)}@example.com",
            f"+4930{_dice.randrange(10**6, 10**7)}",
            f"Bearer {_letters(30)}",
        ]
    )


def _letters(count: int) -> str:
    return "".join(_dice.choices(ascii_letters + digits, k=count))


def row() -> dict[str, object]:
    return {
        "id": str(uuid.UUID(int=_dice.getrandbits(128))),
        "created_at": f"2026-09-{_dice.randrange(10, 29)}T14:13:20.250Z",
        "title": prose(),
        "price": round(_dice.random() * 100, 2),
        "stock": _dice.randrange(10**6),
        "tags": _dice.choices(_WORDS, k=3),
        "active": True,
    }


def contact() -> dict[str, object]:
    return {
        **row(),
        "email": f"{_dice.choice(_WORDS)}@example.com",
        "phone": "+493012345678",
        "session_token": "abc123",
    }


def page() -> dict[str, object]:
    return {"url": f"https://example.com/a/{_dice.randrange(10**9)}?q=x", "text": support() + prose() * 6 + log_line()}


def nested() -> dict[str, object]:
    return {"type": "text", "text": json.dumps({"rows": [row(), {"body": json.dumps(contact())}]})}


def text_of(piece: Callable[[], str], size: int) -> bytes:
    text = ""
    while len(text) < size:
        text += piece()
    return text[:size].encode()


def json_of(piece: Callable[[], object], size: int) -> bytes:
    rows: list[object] = []
    while len(text := json.dumps({"rows": rows}, separators=(",", ":"))) < size:
        rows.append(piece())
    return text.encode()


def inputs(size: int) -> dict[str, bytes]:
    """By kind; JSON may be a little longer than `size`, texts are cut to it."""
    return {
        "prose": text_of(prose, size),
        "prose with addresses and numbers": text_of(support, size),
        "log lines": text_of(log_line, size),
        "code": text_of(code, size),
        "form body": text_of(form, size),
        "form of secrets alone": text_of(lambda: "mail=a%40example.com&token=x1&", size),
        "tiny percent-encoded words": text_of(lambda: "%41 ", size),
        "list of secrets": text_of(lambda: f"{secret()}\n", size),
        "base64 image": base64.b64encode(_dice.randbytes(size)),
        "JSON of records": json_of(row, size),
        "JSON of people": json_of(contact, size),
        "JSON of pages": json_of(page, size),
        "JSON in JSON in JSON": json_of(nested, size),
        "JSON of numbers": json_of(lambda: [_dice.randrange(10**9), _dice.random()], size),
        "JSON of short strings": json_of(lambda: _dice.choices(_WORDS, k=8), size),
        "JSON over many lines": json.dumps(json.loads(json_of(contact, size)), indent=2).encode(),
        "card-like numbers": text_of(lambda: f"{_dice.randrange(10**15, 10**16)} ", size),
        "password: password: …": text_of(lambda: "password: ", size),
        "'key': 'key': …": text_of(lambda: "'key': ", size),
    }


def speed(text: bytes, seconds: float) -> float:
    """MB/s: the median of five stretches of `seconds`/5."""
    redactor = Redactor(Redaction())
    redactor.scrub(text)
    return median(_stretch(redactor, text, seconds / 5) for _ in range(5))


def _stretch(redactor: Redactor, text: bytes, seconds: float) -> float:
    began = time.thread_time()
    for done in count(1):
        redactor.scrub(text)
        if (spent := time.thread_time() - began) >= seconds:
            return done * len(text) / spent / 1e6
    raise AssertionError("never ends")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--size", type=int, default=3072, help="bytes of each input; 3072 is what the log's window holds"
    )
    parser.add_argument("--seconds", type=float, default=0.5, help="spent on each input")
    options = parser.parse_args()
    print(f"{'input':<34}{'MB/s':>8}")
    for kind, text in inputs(options.size).items():
        print(f"{kind:<34}{speed(text, options.seconds):>8.1f}")


if __name__ == "__main__":
    main()
