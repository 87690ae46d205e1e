"""The last finished calls, for the admin plane: what a log line says of them, without payloads."""

from collections import deque

from gateway.model import Record
from gateway.observers.lines import META, call_fields
from gateway.observers.redaction.scrubber import Scrubber
from gateway.policy.snapshot import Redaction

KEPT_CALLS = 1000
_CALL_ID, _DETAIL = Record._fields.index("call_id"), Record._fields.index("detail")


class Recent:
    """An Observer with a bounded memory, oldest forgotten first. Nothing is put into words before someone asks."""

    def __init__(self, kept: int = KEPT_CALLS) -> None:
        self._calls: deque[tuple[object, ...]] = deque(maxlen=kept)
        self._scrubber = Scrubber(Redaction())

    def call_ended(self, record: Record) -> None:
        self._calls.append(record[:META])

    def happened(self, event: object) -> None:
        """Events are not kept here."""

    def calls(self, limit: int = 100, *, agent: str | None = None, run: str | None = None) -> list[dict[str, object]]:
        """Newest first, at most `limit`."""
        found: list[dict[str, object]] = []
        for meta in reversed(self._calls):
            if len(found) >= limit:
                break
            fields = self._fields(meta)
            if (agent is None or fields["agent_id"] == agent) and (run is None or fields["run_id"] == run):
                found.append(fields)
        return found

    def call(self, call_id: str) -> dict[str, object] | None:
        return next((self._fields(meta) for meta in reversed(self._calls) if meta[_CALL_ID] == call_id), None)

    def _fields(self, meta: tuple[object, ...]) -> dict[str, object]:
        fields, detail = call_fields(meta, self._scrubber.scrub_name), meta[_DETAIL]
        fields["detail"] = self._scrubber.scrub_text(detail) if isinstance(detail, str) else None
        return fields
