"""Durations as people write and read them."""

import pytest

from gateway.cli.durations import in_words, seconds


@pytest.mark.parametrize(
    ("text", "total"), [("90s", 90), ("15m", 900), ("1h", 3600), ("2d", 172800), ("366d", 366 * 86400)]
)
def test_a_duration_is_a_number_and_a_unit(text: str, total: int) -> None:
    assert seconds(text) == total


@pytest.mark.parametrize("text", ["", "0s", "90", "s", "1.5h", "-1h", "1 h", "1h30m", "1w", "367d", "٣s", "1H", "1h\n"])
def test_anything_else_is_refused_with_the_valid_form(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected a duration such as 90s, 15m, 1h or 2d"):
        seconds(text)


@pytest.mark.parametrize(
    ("total", "words"), [(0.4, "0s"), (-3, "0s"), (90, "1m 30s"), (900, "15m"), (86400, "1d"), (183845, "2d 3h")]
)
def test_people_read_the_two_largest_units(total: float, words: str) -> None:
    assert in_words(total) == words
