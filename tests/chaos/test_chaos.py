"""Twelve seconds of chaos: whatever happened, the gateway's books are the oracle's. `make chaos` takes five minutes and any seed."""

from pathlib import Path

from tests.chaos.trial import trial


async def test_in_the_worst_of_times_the_books_are_right(tmp_path: Path) -> None:
    account = await trial(tmp_path / "installation", seconds=12, seed=4711, rate=40, longest_rest=0.8)
    assert account.differences == []
    assert {"kill 9", "disk", "candidate", "kill switch"} <= set(account.happened)
    answers = account.oracle.answers
    assert min(answers["ok"], answers["dedup"], sum(line.charged > 0 for line in account.oracle.lines.values())) > 0
