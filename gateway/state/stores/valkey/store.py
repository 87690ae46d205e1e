"""What is kept in a fleet's store beside the counts: kill switches, notes, the key of the log's samples. Blocking, for the keeper's worker.

Counts are not saved from here: each charge is in the store before its call goes on (fleet.py).
"""

import asyncio
import errno
import json
import os
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.model import KillSwitch
from gateway.place import Place
from gateway.state.history import History
from gateway.state.idempotency import AnswerChanges
from gateway.state.ledger import Changes
from gateway.state.stores import LOG_KEY_BYTES, Saved, StoreError
from gateway.state.stores.valkey import setting_scripts
from gateway.state.stores.valkey.link import explained
from gateway.state.stores.valkey.primary import ASKED_WITHIN, FAILURES, connect, disconnect
from gateway.state.stores.valkey.unwritten import Unwritten
from gateway.state.stores.valkey.version import NOTHING_READ, new_era
from gateway.state.switches import parse_scope

SWITCHES = ("tgw:switches", "tgw:switches:version", "tgw:switches:lifted")
"""All by their scope, what changes whenever they do (a key and a channel), and what was taken away."""
NOTES = ("tgw:notes", "tgw:notes:version", "tgw:notes:deleted")
"""All by their name, what changes whenever they do, and what was taken away."""
LOG_KEY = "tgw:log-key"
WITHIN = 0.5
"""Seconds for what is asked in one go, over a connection of its own."""


class ValkeyStore:
    """A Store (stores/__init__.py) that never keeps the start waiting: a gateway whose store is out of reach serves what it can. Raises
    StoreError where a file that the URL names cannot be read.
    """

    path: Path | None = None

    def __init__(self, place: Place) -> None:
        self.reach = f"all instances on {place}"
        self.place = place
        self.unwritten = Unwritten()
        self.version = NOTHING_READ
        """The latest that was seen of the switches."""
        self.notes_version = NOTHING_READ
        """The latest that was seen of the notes."""
        for name, file in place.options.items():
            if name.endswith("_file"):
                _readable(name, file)

    def load(self) -> Saved:
        """What cannot be read now is as if it were not there: the fleet's connection takes switches up as soon as it is open."""
        log_key, notes = secrets.token_bytes(LOG_KEY_BYTES), {}
        try:
            log_key_there, notes_there = self._keys(LOG_KEY, NOTES[0])
            commands = ("SET", log_key_there, log_key, "NX"), ("GET", log_key_there), ("HGETALL", notes_there)
            _, kept, found = self._ask(*commands)
            log_key = kept if isinstance(kept, bytes) else log_key
            flat = [part.decode() for part in found if isinstance(part, bytes)] if isinstance(found, list) else []
            notes = unstamped(dict(zip(flat[::2], flat[1::2], strict=True)))
        except StoreError:
            pass
        return Saved([], [], log_key, (), notes)

    def switching(self, switch: KillSwitch, *, on: bool) -> None:
        self.unwritten.switch(switch, on=on)

    def put_switch(self, switch: KillSwitch) -> None:
        self._write("on", switch, written(switch))

    def delete_switch(self, switch: KillSwitch) -> None:
        self._write("off", switch, repr(switch.since))

    def put_note(self, name: str, value: str | None) -> None:
        how, what = ("off", "") if value is None else ("on", value.encode("utf-8", "replace").decode())
        self._ask(
            ("EVAL", setting_scripts.NOTE, 3, *self._keys(*NOTES), how, name, what, self.notes_version, new_era())
        )

    def save(self, changes: Changes, covered: int) -> None:
        """Counts are the fleet's."""

    def save_answers(self, changes: AnswerChanges) -> None:
        """They are this process's."""

    def save_history(self, changes: History) -> None:
        """It is this process's."""

    def look(self) -> None:
        """The fleet's connection says whether it is there."""

    def close(self) -> None:
        """Nothing is open between two questions."""

    def _write(self, how: str, switch: KillSwitch, what: str) -> None:
        told = how, str(switch.scope), what, self.version, new_era()
        with self.unwritten.writing(switch, on=how == "on"):
            self._ask(("EVAL", setting_scripts.SWITCH, 3, *self._keys(*SWITCHES), *told))

    def _keys(self, *names: str) -> tuple[str, ...]:
        return tuple(map(self.place.key, names))

    def _ask(self, *commands: tuple[str | bytes | int, ...]) -> list[object]:
        """The replies. In a thread of its own, since the one that asks may have a loop."""
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="store") as apart:
                return apart.submit(asyncio.run, self._answers(commands)).result()
        except FAILURES as error:
            problem = f"GATEWAY_STATE: {self.place} {explained(error)}: look at that server and the way to it"
            raise StoreError(problem) from None

    async def _answers(self, commands: tuple[tuple[str | bytes | int, ...], ...]) -> list[object]:
        async with asyncio.timeout(WITHIN + ASKED_WITHIN * (len(self.place.nodes) - 1)):
            connection = await connect(self.place)
            try:
                for command in commands:
                    await connection.send_command(*command)
                return [await connection.read_response() for _ in commands]
            finally:
                await disconnect(connection)


def _readable(name: str, file: str) -> None:
    """Raises StoreError: later it would look as if the server refused."""
    try:
        Path(file).read_bytes()
    except (OSError, ValueError) as error:
        problem = os.strerror(getattr(error, "errno", 0) or errno.EINVAL).lower()
        raise StoreError(
            f"GATEWAY_STATE: {name} cannot be read ({problem}): name a file that the gateway may read"
        ) from None


def unstamped(notes: Mapping[str, str]) -> dict[str, str]:
    """Without when each was set."""
    return {name: value.partition(" ")[2] for name, value in notes.items()}


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
