"""The last finished calls, for the admin plane: what a log line says of them, without payloads."""

from collections import OrderedDict

from gateway.model import Record
from gateway.observers.lines import call_fields, meta_of
from gateway.observers.redaction.redact import Redactor
from gateway.policy.snapshot import Redaction

KEPT_CALLS = 1000


class Recent:
    """An Observer with a bounded memory, oldest forgotten first. Nothing is put into words before someone asks."""

    def __init__(self, kept: int = KEPT_CALLS) -> None:
        self._kept = kept
        self._calls: OrderedDict[str, tuple[tuple[object, ...], str | None]] = OrderedDict()
        self._redactor = Redactor(Redaction())

    def call_ended(self, record: Record) -> None:
        self._calls[record.call_id] = (meta_of(record), record.detail)
        if len(self._calls) > self._kept:
            self._calls.popitem(last=False)

    def happened(self, event: object) -> None:
        """Events are not kept here."""

    def calls(self, limit: int = 100, *, agent: str | None = None, run: str | None = None) -> list[dict[str, object]]:
        """Newest first, at most `limit`."""
        found: list[dict[str, object]] = []
        for meta, detail in reversed(self._calls.values()):
            if len(found) >= limit:
                break
            fields = self._fields(meta, detail)
            if (agent is None or fields["agent_id"] == agent) and (run is None or fields["run_id"] == run):
                found.append(fields)
        return found

    def call(self, call_id: str) -> dict[str, object] | None:
        kept = self._calls.get(call_id)
        return self._fields(*kept) if kept else None

    def _fields(self, meta: tuple[object, ...], detail: str | None) -> dict[str, object]:
        fields = call_fields(meta, self._redactor.scrub_name)
        fields["detail"] = None if detail is None else self._redactor.scrub_text(detail)
        return fields
