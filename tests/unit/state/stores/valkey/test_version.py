"""Which states of the fleet's switches and notes may be taken as they are, and which have lost something."""

import pytest

from gateway.state.stores.valkey.version import NOTHING_READ, follows, new_era


@pytest.mark.parametrize(
    ("version", "known", "does"),
    [
        ("a1.7", NOTHING_READ, True),
        ("", NOTHING_READ, True),
        ("a1.7", "a1.7", True),
        ("a1.10", "a1.9", True),
        ("a1.6", "a1.7", False),
        ("b2.8", "a1.7", False),
        ("", "a1.7", False),
        ("12", "a1.7", False),
    ],
)
def test_what_follows_has_lost_nothing(version: str, known: str, does: bool) -> None:
    assert follows(version, known) is does


def test_no_era_is_begun_twice() -> None:
    assert len({new_era() for _ in range(100)}) == 100
    assert all(era.isalnum() for era in (new_era() for _ in range(100)))
