from gateway.model import Event, Moment
from gateway.observers.unreachable import Unreachable
from tests.unit.observers.observer_records import PLAIN


def at(seconds: float) -> Moment:
    return Moment(1000 + seconds, 1_700_000_000 + seconds)


def test_an_outage_is_told_once_a_minute_and_upstream() -> None:
    told: list[Event] = []
    observer = Unreachable(told.append)
    failed = PLAIN._replace(upstream="search", errors=("refused", "refused"))
    for seconds in (0, 1, 59, 60):
        observer.call_ended(failed._replace(at=at(seconds)))
    observer.call_ended(failed._replace(at=at(60), upstream="notes", errors=("dns",)))
    assert [event.fields for event in told] == [
        {"upstream": "search", "problem": "refused"},
        {"upstream": "search", "problem": "refused"},
        {"upstream": "notes", "problem": "dns"},
    ]


def test_an_upstream_that_answers_badly_was_reached() -> None:
    told: list[Event] = []
    Unreachable(told.append).call_ended(PLAIN._replace(upstream="search", errors=("reset", "cut", "timeout")))
    assert told == []
