"""What is kept in a fleet's store beside the counts: kill switches, notes, the key of the log's samples. Blocking, for the keeper's worker.

Counts are not saved from here: each charge is in the store before its call goes on (fleet.py).
"""

import json
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from valkey import Valkey
from valkey.backoff import NoBackoff
from valkey.exceptions import ValkeyError
from valkey.retry import Retry

from gateway.model import KillSwitch
from gateway.place import Place
from gateway.state.idempotency import AnswerChanges
from gateway.state.ledger import Changes
from gateway.state.stores import LOG_KEY_BYTES, Saved, StoreError
from gateway.state.stores.valkey import scripts
from gateway.state.stores.valkey.link import explained
from gateway.state.switches import parse_scope

SWITCHES = ("tgw:switches", "tgw:switches:version")
"""All by their scope, and what changes whenever they do: a key and a channel."""
NOTES = ("tgw:notes", "tgw:notes:version")
"""All by their name, and what changes whenever they do."""
LOG_KEY = "tgw:log-key"
WITHIN = 0.25
"""Seconds for one command."""


class ValkeyStore:
    """A Store (stores/__init__.py) that never keeps the start waiting: a gateway whose store is out of reach serves what it can."""

    path: Path | None = None

    def __init__(self, place: Place) -> None:
        self.reach = f"all instances on {place}"
        self.place = place
        self.unsaved: dict[str, KillSwitch] = {}
        """Switches by scope that hold here and could not be written yet."""
        self.unlifted: dict[str, KillSwitch] = {}
        """Those that were lifted here and may still stand there."""
        self.version = 0
        """The latest that was seen of the switches."""
        self._client = Valkey(
            host=place.host,
            port=place.port,
            db=place.db,
            username=place.username,
            password=place.password,
            socket_timeout=WITHIN,
            socket_connect_timeout=WITHIN,
            retry=Retry(NoBackoff(), 0),
            ssl=place.tls,
            ssl_ca_certs=place.ca_file,
        )

    def load(self) -> Saved:
        """What cannot be read now is as if it were not there: the fleet's connection takes switches up as soon as it is open."""
        log_key, notes = secrets.token_bytes(LOG_KEY_BYTES), {}
        try:
            with self._explained():
                self._client.set(LOG_KEY, log_key, nx=True)
                kept = self._client.get(LOG_KEY)
                log_key = kept if isinstance(kept, bytes) else log_key
                found = cast("dict[bytes, bytes]", self._client.hgetall(NOTES[0]))
                notes = {name.decode(): value.decode() for name, value in found.items()}
        except StoreError:
            pass
        return Saved([], [], log_key, (), notes)

    def put_switch(self, switch: KillSwitch) -> None:
        scope = str(switch.scope)
        self.unlifted.pop(scope, None)
        self.unsaved[scope] = switch
        self._change("on", scope, written(switch))
        self.unsaved.pop(scope, None)

    def delete_switch(self, switch: KillSwitch) -> None:
        scope = str(switch.scope)
        self.unsaved.pop(scope, None)
        self.unlifted[scope] = switch
        self._change("off", scope, repr(switch.since))
        self.unlifted.pop(scope, None)

    def put_note(self, name: str, value: str | None) -> None:
        how, what = ("off", "") if value is None else ("on", value.encode("utf-8", "replace").decode())
        with self._explained():
            self._client.eval(scripts.NOTE, 2, *NOTES, how, name, what, "0")

    def save(self, changes: Changes, covered: int) -> None:
        """Counts are the fleet's."""

    def save_answers(self, changes: AnswerChanges) -> None:
        """They are this process's."""

    def look(self) -> None:
        """The fleet's connection says whether it is there."""

    def close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]  # the client has no types there

    def _change(self, how: str, scope: str, what: str) -> None:
        with self._explained():
            self._client.eval(scripts.SWITCH, 2, *SWITCHES, how, scope, what, str(self.version))

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (ValkeyError, OSError) as error:
            problem = f"GATEWAY_STATE: {self.place} {explained(error)}: look at that server and the way to it"
            raise StoreError(problem) from None


def written(switch: KillSwitch) -> str:
    """As it stands in the store."""
    fields = {
        "scope": str(switch.scope),
        "reason": switch.reason,
        "who": switch.who,
        "since": switch.since,
        "until": switch.until,
        "cancel_in_flight": switch.cancel_in_flight,
    }
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def read(text: str) -> KillSwitch | None:
    """None where this version cannot read it."""
    try:
        fields = json.loads(text)
        until = fields.get("until")
        return KillSwitch(
            parse_scope(fields["scope"]),
            str(fields["reason"]),
            str(fields["who"]),
            float(fields["since"]),
            None if until is None else float(until),
            bool(fields.get("cancel_in_flight")),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
