"""Tells every observer of every call and event: a plain loop, in which one that fails is counted and harms no one."""

from collections import Counter

from gateway.model import Event, Observer, Record


class Observers:
    """Itself an Observer."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers
        self._call_ended = [(observer.call_ended, type(observer).__name__) for observer in observers]
        self.failures: Counter[str] = Counter()
        """By the observer's class name."""

    def call_ended(self, record: Record) -> None:
        for call_ended, name in self._call_ended:
            try:
                call_ended(record)
            except Exception:  # noqa: BLE001  an observer has no power over a call, whatever it raises
                self.failures[name] += 1

    def happened(self, event: Event) -> None:
        for observer in self._observers:
            try:
                observer.happened(event)
            except Exception:  # noqa: BLE001  as above
                self.failures[type(observer).__name__] += 1
