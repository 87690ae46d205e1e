"""What callers of the governed door have set: policies, registered tools, disabled agents, and the shelves of locks and leases. Durable
before it is answered; what it means for calls is policy/governed.py's affair, and the kill switches'.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

import orjson

from gateway.doors.governed.shelf import FullError, PutNote, Shelf
from gateway.model import KillSwitch, Moment, Scope, Source
from gateway.policy.governed import ApiPolicy, Governing, Overlay, policy_document, read, read_tool
from gateway.policy.snapshot import RegisteredTool
from gateway.state.stores import StoreError

MOST = 1000
"""Policies, tools and disabled agents that are kept, each."""
MOST_BYTES = 8 << 20
"""Of all of them, as they are written down."""
_POLICY, _TOOL, _DISABLED = "governed.policy:", "governed.tool:", "governed.disabled:"


class Governance:
    """Constructed once, by app.py, from the notes of the state store. `changed` and `switched` are told of every change."""

    def __init__(
        self,
        notes: Mapping[str, str],
        *,
        put_note: PutNote,
        changed: Callable[[Overlay], None],
        switched: Callable[[tuple[KillSwitch, ...]], None],
        clock: Callable[[], Moment],
    ) -> None:
        """Raises StoreError where a note cannot be read: a limit must not be forgotten."""
        self.lock = asyncio.Lock()
        """Held by whoever changes something, from the look at what is there."""
        self._put_note = put_note
        self._changed = changed
        self._switched = switched
        self._clock = clock
        self.overlay = Overlay(_policies(notes), _tools(notes))
        self._disabled = _switches(notes)
        self._sizes = _sizes(notes)
        self.locks, self.leases = Shelf("governed.lock:", notes, put_note), Shelf("governed.lease:", notes, put_note)

    @property
    def switches(self) -> tuple[KillSwitch, ...]:
        """Agents that are disabled."""
        return tuple(self._disabled.values())

    def take_up(self, notes: Mapping[str, str]) -> None:
        """What is stored now, in place of all that was known: another gateway has set it. Raises StoreError where a note cannot be read,
        with nothing changed.
        """
        overlay, disabled = Overlay(_policies(notes), _tools(notes)), _switches(notes)
        self._sizes = _sizes(notes)
        if overlay.digest != self.overlay.digest:
            self._take(overlay)
        if disabled != self._disabled:
            self._disabled = disabled
            self._switched(self.switches)

    async def put_policy(self, policy: Governing) -> None:
        """In place of the agent's earlier one. Raises StoreError and FullError, with nothing changed."""
        agent, policies = policy.policy.agent_id, self.overlay.policies
        if agent not in policies and len(policies) >= MOST:
            raise FullError(f"{MOST} policies are kept already")
        await self._write(_POLICY + agent, policy_document(policy.policy))
        self._take(replace(self.overlay, policies={**policies, agent: policy}))

    async def put_tool(self, tool: RegisteredTool) -> None:
        """In place of the earlier one of its scope and name. Raises StoreError and FullError, with nothing changed."""
        key, tools = (tool.scope, tool.name), self.overlay.tools
        if key not in tools and len(tools) >= MOST:
            raise FullError(f"{MOST} tools are registered already")
        await self._write(_note_of(*key), tool_note(tool) | {"secret_id": tool.secret_id})
        self._take(replace(self.overlay, tools={**tools, key: tool}))

    async def delete_tool(self, scope: str, name: str) -> None:
        """Raises StoreError, with nothing changed."""
        await self._erase(_note_of(scope, name))
        self._take(
            replace(self.overlay, tools={k: tool for k, tool in self.overlay.tools.items() if k != (scope, name)})
        )

    async def disable(self, agent: str, reason: str, who: str) -> None:
        """In effect at once, before it is written. Raises StoreError: then it would not survive the process. FullError: nothing changed."""
        if agent not in self._disabled and len(self._disabled) >= MOST:
            raise FullError(f"{MOST} agents are disabled already")
        switch = KillSwitch(Scope("agent", agent), reason, who, self._clock().wall, source=Source.GOVERNED)
        self._disabled[agent] = switch
        self._switched(self.switches)
        await self._write(_DISABLED + agent, {"reason": reason, "who": who, "since": switch.since}, bounded=False)

    async def enable(self, agent: str) -> None:
        """Lifts what `disable` set, and nothing else. Raises StoreError: then it would come back at a restart."""
        if self._disabled.pop(agent, None) is not None:
            self._switched(self.switches)
            await self._erase(_DISABLED + agent)

    def disabled(self, agent: str) -> KillSwitch | None:
        return self._disabled.get(agent)

    async def _write(self, name: str, document: object, *, bounded: bool = True) -> None:
        """Raises StoreError, and FullError where it is `bounded`."""
        note = orjson.dumps(document).decode()
        if bounded and sum(self._sizes.values()) - self._sizes.get(name, 0) + len(note) > MOST_BYTES:
            raise FullError(f"all that is set at /v1 takes {MOST_BYTES} bytes already")
        await self._put_note(name, note)
        self._sizes[name] = len(note)

    async def _erase(self, name: str) -> None:
        """Raises StoreError."""
        await self._put_note(name, None)
        self._sizes.pop(name, None)

    def _take(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self._changed(overlay)


def tool_note(tool: RegisteredTool) -> dict[str, object]:
    """As POST /v1/tools takes it."""
    return {
        "name": tool.name,
        "scope_id": tool.scope,
        "url": tool.url,
        "auth": None if tool.secret is None else {"type": "hmac_sha256", "secret": tool.secret},
        "timeout_ms": round(tool.timeout * 1000) if tool.timeout_written else None,
        "max_retries": tool.max_retries,
        "enabled": tool.enabled,
        "description": tool.description,
    }


def _note_of(scope: str, name: str) -> str:
    return f"{_TOOL}{scope} {name}"


def _policies(notes: Mapping[str, str]) -> dict[str, Governing]:
    found = {}
    for agent, document in _below(notes, _POLICY):
        try:
            found[agent] = Governing(read(ApiPolicy, document))
        except ValueError as error:
            raise _unreadable(f"the policy of {agent}", error) from None
    return found


def _tools(notes: Mapping[str, str]) -> dict[tuple[str, str], RegisteredTool]:
    found = {}
    for name, document in _below(notes, _TOOL):
        secret_id = document.pop("secret_id", None) if isinstance(document, dict) else None
        try:
            tool = read_tool(document)
        except ValueError as error:
            raise _unreadable(f"the tool {name}", error) from None
        found[tool.scope, tool.name] = tool._replace(secret_id=secret_id)
    return found


def _switches(notes: Mapping[str, str]) -> dict[str, KillSwitch]:
    found = {}
    for agent, note in _below(notes, _DISABLED):
        match note:
            case {"reason": str(reason), "who": str(who), "since": int() | float() as since}:
                found[agent] = KillSwitch(Scope("agent", agent), reason, who, float(since), source=Source.GOVERNED)
            case _:
                raise _unreadable(f"the switch of {agent}", "reason, who or since is missing")
    return found


def _below(notes: Mapping[str, str], prefix: str) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for name, value in sorted(notes.items()):
        if name.startswith(prefix):
            try:
                found.append((name.removeprefix(prefix), orjson.loads(value)))
            except ValueError:
                raise _unreadable(name, "not JSON") from None
    return found


def _sizes(notes: Mapping[str, str]) -> dict[str, int]:
    return {name: len(value) for name, value in notes.items() if name.startswith((_POLICY, _TOOL, _DISABLED))}


def _unreadable(what: str, why: object) -> StoreError:
    remedy = "use the gateway that wrote it, or move the state away to start without what was set at /v1"
    return StoreError(f"GATEWAY_STATE: {what}, set at /v1, cannot be read ({why}): {remedy}")
