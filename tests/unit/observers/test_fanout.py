from gateway.model import Event, Moment, Record
from gateway.observers.fanout import Observers
from gateway.observers.recent import Recent
from tests.unit.observers.observer_records import record


class Failing:
    def call_ended(self, record: Record) -> None:
        raise RuntimeError("no")

    def happened(self, event: Event) -> None:
        raise RuntimeError("no")


def test_an_observer_that_fails_is_counted_and_the_next_is_told() -> None:
    recent = Recent()
    observers = Observers(Failing(), recent)
    observers.call_ended(record())
    observers.happened(Event("breaker", Moment(0, 0)))
    assert recent.call("c-1") is not None
    assert observers.failures == {"Failing": 2}
