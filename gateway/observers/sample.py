"""Which calls are logged with their payloads. Pure: the record's own time is the clock."""

from hashlib import blake2b
from typing import Final

from gateway.denial import Reason
from gateway.model import Decision, Record
from gateway.policy.snapshot import Observability

FIRST_FAILURES = 10
"""Payloads of errors and denials logged a minute for each (tool, reason), whatever the rate (SPEC 7)."""

MOST_KEYS = 1000
"""(tool, reason) pairs counted apart in one minute; a caller that invents names shares one count a reason from there on."""

FINE: Final = (Reason.OK, Reason.DEDUP)
_ALLOW: Final = Decision.ALLOW
"""Python 3.11 takes 100 ns to find a member of an enum."""


def failed(record: Record) -> bool:
    """An error or a denial, a relayed 4xx/5xx (tool_error) and a caller that left included."""
    return record.reason not in FINE or record.decision is not _ALLOW


MOST_RUNS = 4096
"""Runs whose lot is remembered; with more of them it is drawn anew, and comes out the same."""


class Sampler:
    """Keeps only this minute's counts of failures. The key is random per process: no caller can choose a sampled run id."""

    def __init__(self, key: bytes) -> None:
        self._key = key[:64]
        self._rate = 0.0
        self._lots: dict[str, bool] = {}
        """By run, at this rate."""
        self._minute = -1
        self._failures: dict[tuple[str, Reason], int] = {}

    def wants(self, record: Record, observability: Observability) -> bool:
        """A run is sampled whole or not at all; a call without one by its own id. `sampled_tool_results: false` ends it all."""
        if not observability.sampled_tool_results:
            return False
        if failed(record) and self._among_first(record):
            return True
        rate = observability.result_sample_rate
        if record.run_id is None:
            return self.chosen(record.call_id, rate)
        lot = self._lots.get(record.run_id) if rate == self._rate else None
        return self._draw(record.run_id, rate) if lot is None else lot

    def _draw(self, run_id: str, rate: float) -> bool:
        if rate != self._rate or len(self._lots) >= MOST_RUNS:
            self._rate = rate
            self._lots.clear()
        lot = self._lots[run_id] = self.chosen(run_id, rate)
        return lot

    def chosen(self, name: str, rate: float) -> bool:
        """The keyed hash of the name, as a share of all hashes, is below the rate."""
        if rate <= 0 or rate >= 1:
            return rate >= 1
        digest = blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8, key=self._key).digest()
        return int.from_bytes(digest, "big") < rate * 2.0**64

    def _among_first(self, record: Record) -> bool:
        minute = int(record.at.mono // 60)
        if minute != self._minute:
            self._minute = minute
            self._failures.clear()
        key = (record.tool, record.reason)
        if key not in self._failures and len(self._failures) >= MOST_KEYS:
            key = ("", record.reason)
        count = self._failures.get(key, 0)
        self._failures[key] = count + 1
        return count < FIRST_FAILURES
