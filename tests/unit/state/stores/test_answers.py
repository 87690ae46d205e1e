import sqlite3
from pathlib import Path

import pytest

from gateway.model import Moment
from gateway.state.idempotency import AnswerChanges, AnswerKey, Answers, KeptAnswer
from gateway.state.ledger import Ledger
from gateway.state.stores import StoreError
from gateway.state.stores.keeper import Keeper
from gateway.state.stores.sqlite import SqliteStore

AT = Moment(50.0, 1e9)
HEADERS = (("Content-Type", "text/plain"), ("X-Odd", "caf\udce9"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"))
BODY = bytes(range(256))


def answer(key: str = "k", number: int = 1, status: int = 201) -> KeptAnswer:
    return KeptAnswer(AnswerKey("scout", "notes.write", key), "ab" * 32, AT, status, HEADERS, BODY, number)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gateway.db"


def keys(answers: Answers, now: Moment = AT) -> list[str]:
    return [key for key in "abck" if answers.find(answer(key).key, now)]


class Disk(SqliteStore):
    """The real store on a disk that may be full."""

    most_pages = 1 << 30

    def save_answers(self, changes: AnswerChanges) -> None:
        self._db.execute(f"PRAGMA max_page_count = {self.most_pages}")
        super().save_answers(changes)


class Process:
    """Answers and their keeper, as a gateway holds them from one start to the next."""

    def __init__(self, path: Path, now: Moment = AT, store: SqliteStore | None = None) -> None:
        self.answers, self.ledger = Answers(), Ledger()
        self.store = store or SqliteStore(str(path))
        self.keeper = Keeper(self.store)
        self.keeper.begin(self.ledger, self.keeper.load(), now, self.answers)

    async def flush(self) -> None:
        await self.keeper.flush(self.ledger, AT)

    async def end(self) -> None:
        await self.keeper.close(self.ledger, AT)


def test_answers_come_back_to_the_last_byte(path: Path) -> None:
    store = SqliteStore(str(path))
    store.save_answers(AnswerChanges([answer()], 1))
    store.close()
    store = SqliteStore(str(path))
    (found,) = store.load().answers
    store.close()
    assert found == answer()._replace(kept=Moment(0.0, AT.wall))


def test_what_has_left_is_deleted(path: Path) -> None:
    store = SqliteStore(str(path))
    store.save_answers(AnswerChanges([answer("a", 1), answer("b", 2)], 1))
    store.save_answers(AnswerChanges([answer("c", 3)], 3))
    assert [found.key.key for found in store.load().answers] == ["c"]
    store.close()


async def test_an_answer_survives_from_the_flush_after_it_on(path: Path) -> None:
    first = Process(path)
    first.answers.keep(answer("a"))
    await first.flush()
    first.answers.keep(answer("b"))
    first.store.close()  # as a kill would: nothing more is written
    second = Process(path)
    assert keys(second.answers) == ["a"]
    await second.end()


async def test_the_orderly_end_keeps_the_last_answer(path: Path) -> None:
    first = Process(path)
    first.answers.keep(answer("a"))
    await first.end()
    second = Process(path, Moment(3.0, AT.wall + 3600))
    second.answers.bound(2 * 3600, 1 << 20)
    assert keys(second.answers, Moment(3599.0, 0.0)) == ["a"]
    assert keys(second.answers, Moment(3603.0, 0.0)) == []
    await second.end()


async def test_numbers_go_on_after_a_restart(path: Path) -> None:
    first = Process(path)
    for key in "ab":
        first.answers.keep(answer(key))
    await first.end()
    second = Process(path)
    second.answers.keep(answer("c"))
    second.answers.bound(3600, 2 * answer().weight)
    await second.end()
    third = Process(path)
    assert keys(third.answers) == ["b", "c"]
    await third.end()


async def test_what_could_not_be_written_is_written_later(path: Path) -> None:
    disk = Disk(str(path))
    process = Process(path, store=disk)
    disk.most_pages = 1
    process.answers.keep(answer("a")._replace(body=BODY * 400))
    await process.flush()
    assert "cannot grow" in (process.keeper.problem or "")
    disk.most_pages = 1 << 30
    process.answers.keep(answer("b"))
    await process.flush()
    assert process.keeper.up
    await process.end()
    again = Process(path)
    assert keys(again.answers) == ["a", "b"]
    await again.end()


async def test_a_file_from_before_answers_were_kept_is_taken_up(path: Path) -> None:
    SqliteStore(str(path)).close()
    with sqlite3.connect(path) as db:
        for table in ("answers", "agent_calls", "agent_sums"):
            db.execute(f"DROP TABLE {table}")
        db.execute("PRAGMA user_version = 2")
    db.close()
    process = Process(path)
    process.answers.keep(answer("a"))
    await process.end()
    again = Process(path)
    assert keys(again.answers) == ["a"]
    await again.end()


def test_a_row_that_cannot_be_read_stops_the_start_with_one_line(path: Path) -> None:
    store = SqliteStore(str(path))
    store.save_answers(AnswerChanges([answer()], 1))
    store.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE answers SET headers = '[1]'")
    db.close()
    store = SqliteStore(str(path))
    with pytest.raises(StoreError, match="holds a row that cannot be read"):
        store.load()
    store.close()
