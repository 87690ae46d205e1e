"""The labelled corpus: documents with one planted value each, and documents with a look-alike. All fake, all from a seed."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from tests.redaction.credentials import CREDENTIALS, Planted
from tests.redaction.dice import Dice
from tests.redaction.look_alikes import LOOK_ALIKES
from tests.redaction.personal import PERSONAL
from tests.redaction.surroundings import HELD_BACK, TUNING, Surrounding

Made = TypeVar("Made")


class Sample(NamedTuple):
    """One document and what is to happen to it."""

    kind: str
    """Of the secret or of the look-alike."""
    form: str
    """Of the surrounding."""
    document: str
    secret: str | None
    """What must not be shown; None: the document must come out as it is."""
    written: str
    """The value, with what tells it, as it stands in the document."""


class Set(NamedTuple):
    """Samples drawn from one seed and one family of surroundings."""

    name: str
    seed: int
    surroundings: tuple[Surrounding, ...]
    of_each: int
    """Values of each kind."""

    def samples(self) -> list[Sample]:
        """The same ones every time."""
        planted = [*_planted(CREDENTIALS, self), *_planted(PERSONAL, self)]
        return planted + [
            Sample(kind, place.form, place.around(value), None, place.write(value))
            for kind, value, place in _drawn(LOOK_ALIKES, self)
        ]


TUNING_SET = Set("tuning", 20260921, TUNING, 30)
HELD_BACK_SET = Set("held-back", 424243, HELD_BACK, 42)


def _planted(makers: Mapping[str, Callable[[Dice], str | Planted]], of: Set) -> list[Sample]:
    samples = []
    for kind, made, place in _drawn(makers, of):
        text, secret = made if isinstance(made, Planted) else (made, None)
        samples.append(Sample(kind, place.form, place.around(text), secret or text, place.write(text)))
    return samples


def _drawn(makers: Mapping[str, Callable[[Dice], Made]], of: Set) -> list[tuple[str, Made, Surrounding]]:
    """`of_each` values a kind, four times as many for personal data; the surroundings in turn."""
    drawn = []
    for kind, maker in makers.items():
        dice = Dice(f"{of.seed} {kind}")
        count = of.of_each * (4 if kind in PERSONAL else 1)
        drawn += [(kind, maker(dice), of.surroundings[n % len(of.surroundings)]) for n in range(count)]
    return drawn
