"""Recall and precision of the redactor on the corpus.

`python -m tests.redaction.measure` prints the tables of docs/redaction.md; with `--missed`, what was missed or hidden for nothing.
"""

import base64
import re
import sys
from collections import Counter
from collections.abc import Container
from functools import cache
from typing import NamedTuple
from urllib.parse import unquote, unquote_plus

from gateway.observers.redaction.redact import Redactor
from gateway.policy.snapshot import Redaction
from tests.redaction.corpus import HELD_BACK_SET, TUNING_SET, Sample, Set
from tests.redaction.credentials import CREDENTIALS
from tests.redaction.look_alikes import LOOK_ALIKES
from tests.redaction.personal import PERSONAL

_MARK = re.compile(r"\[redacted(?::(\w+))?\]")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{24,}={0,2}")
_CORE = 8
"""A secret is shown where a run of so many of its characters (letters and digits alone) is."""


class Tally(NamedTuple):
    """What became of the samples of one set."""

    samples: Counter[str]
    right: Counter[str]
    """Secrets that were hidden, look-alikes that were kept."""
    false_marks: Counter[str]
    """In look-alikes, by the kind the redactor took them for."""
    wrong: tuple[tuple[Sample, str], ...]
    """What was missed or hidden for nothing, and what was shown."""

    def share(self, kinds: Container[str]) -> float:
        """Of the samples of these kinds: how many came out right."""
        chosen = [kind for kind in self.samples if kind in kinds]
        return sum(self.right[kind] for kind in chosen) / sum(self.samples[kind] for kind in chosen)

    def precision(self, kind: str) -> float:
        """Of all that was taken for this kind: how much was one."""
        return self.right[kind] / max(1, self.right[kind] + self.false_marks[kind])


def right(sample: Sample, shown: str) -> bool:
    """Is the secret hidden, does the look-alike stand there as it did?"""
    if sample.secret is None:
        return sample.written in shown
    return not _shows(sample.secret, shown)


def _shows(secret: str, shown: str) -> bool:
    texts = {shown, unquote(shown), unquote_plus(shown), _unescaped(shown), *map(_decoded, _BASE64.findall(shown))}
    core = _letters(_unescaped(secret))
    size = min(_CORE, len(core))
    runs = {core[i : i + size] for i in range(len(core) - size + 1)}
    return any(run in letters for letters in map(_letters, texts) for run in runs)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text))


def _unescaped(text: str) -> str:
    return re.sub(r"\\+u([0-9a-f]{4})", lambda m: chr(int(m[1], 16)), re.sub(r"\\+n", "\n", text))


def _decoded(text: str) -> str:
    return base64.b64decode(text[: len(text) // 4 * 4]).decode("latin-1")


@cache
def tally(of: Set) -> Tally:
    """Runs the redactor, as it is without a policy, over all samples of the set."""
    redactor = Redactor(Redaction())
    samples, good, marks, wrong = Counter[str](), Counter[str](), Counter[str](), []
    for sample in of.samples():
        shown = redactor.scrub(sample.document.encode()).decode()
        samples[sample.kind] += 1
        if right(sample, shown):
            good[sample.kind] += 1
            continue
        wrong.append((sample, shown))
        if sample.secret is None:
            marks.update({mark[1] or "password" for mark in _MARK.finditer(shown)})
    return Tally(samples, good, marks, tuple(wrong))


def tables() -> str:
    """Recall and precision by type, in Markdown."""
    tuning, held = tally(TUNING_SET), tally(HELD_BACK_SET)
    lines = ["| type | recall, tuning | recall, held back | precision, held back |", "|---|---:|---:|---:|"]
    for kinds in (CREDENTIALS, PERSONAL):
        lines += [
            f"| {kind} | {_percent(tuning.share({kind}))} | {_percent(held.share({kind}))} | {_percent(held.precision(kind))} |"
            for kind in sorted(kinds)
        ]
    lines += ["", "| look-alike | kept, tuning | kept, held back |", "|---|---:|---:|"]
    lines += [f"| {kind} | {_percent(tuning.share({kind}))} | {_percent(held.share({kind}))} |" for kind in LOOK_ALIKES]
    lines += ["", "| all | tuning | held back |", "|---|---:|---:|"]
    for name, kinds in (
        ("credentials hidden", CREDENTIALS),
        ("personal data hidden", PERSONAL),
        ("look-alikes kept", LOOK_ALIKES),
    ):
        shares = (f"{_percent(of.share(kinds))} of {_count(of, kinds)}" for of in (tuning, held))
        lines.append(f"| {name} | {' | '.join(shares)} |")
    return "\n".join(lines) + "\n"


def _percent(share: float) -> str:
    return f"{int(share * 1000) / 10}%" if share < 1 else "100%"


def _count(of: Tally, kinds: Container[str]) -> int:
    return sum(of.samples[kind] for kind in of.samples if kind in kinds)


if __name__ == "__main__":
    if "--missed" in sys.argv:
        for of in (TUNING_SET,) if "--tuning" in sys.argv else (TUNING_SET, HELD_BACK_SET):
            for sample, shown in tally(of).wrong:
                print(f"{of.name} · {sample.kind} · {sample.form}\n    {sample.written!r}\n    {shown[:300]!r}")  # noqa: T201  a script
    else:
        print(tables())  # noqa: T201  a script
