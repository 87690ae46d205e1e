"""/v1/tools: tools registered at run time, and those of the policy file, in one catalog. A secret goes in and never comes out."""

from collections.abc import Callable, Iterable
from secrets import token_hex

from aiohttp.web_response import Response

from gateway.doors.arrival import Arrival
from gateway.doors.governed.asking import Agents, Caller, Json, answered, not_found, unprocessable
from gateway.doors.governed.governance import Governance, tool_note
from gateway.doors.governed.policies import unwritten
from gateway.doors.governed.shelf import FullError
from gateway.model import Target
from gateway.policy.governed import AGENT_SCOPE, GLOBAL, is_free, read_tool
from gateway.policy.plans.tools import BUILT_IN
from gateway.policy.snapshot import Plan, RegisteredTool, Snapshot
from gateway.policy.targets import host_allowed
from gateway.state.stores import StoreError

Objection = Callable[[Plan, Target], str | None]
"""Why an address will be refused when it is dialled, as far as no name has to be looked up."""
_SHOWN = 3
"""Last characters of a secret that its mask shows."""


class Registry:
    """Constructed once, by the door."""

    def __init__(self, governance: Governance, agents: Agents, objection: Objection) -> None:
        self._governance = governance
        self._agents = agents
        self._objection = objection

    def list(self, arrival: Arrival, scope: str) -> Response:
        tools = self._governance.overlay.tools
        registered = [_view(tool) for (where, _), tool in sorted(tools.items()) if where == scope]
        return answered(
            arrival,
            registered + (_of_the_file(arrival.snapshot, _spelled_out(arrival.snapshot)) if scope == GLOBAL else []),
        )

    def show(self, arrival: Arrival, name: str, scope: str) -> Response:
        """As it is listed. Raises Refusal."""
        named = scope == GLOBAL and name in _spelled_out(arrival.snapshot)
        of_the_file = _of_the_file(arrival.snapshot, [name] if named else [])
        if (scope, name) in self._governance.overlay.tools or not of_the_file:
            return answered(arrival, _view(self._find(arrival, name, scope)))
        return answered(arrival, of_the_file[0])

    async def put(self, arrival: Arrival, caller: Caller, document: Json) -> Response:
        """Raises Refusal."""
        _administrates(caller)
        try:
            tool = read_tool(document)
        except ValueError as error:
            raise unprocessable(str(error)) from None
        self._agents.scope(tool.scope)
        self._judge(arrival.snapshot, tool)
        async with self._governance.lock:
            before = self._governance.overlay.tools.get((tool.scope, tool.name))
            tool = tool._replace(secret_id=_secret_id(tool, before))
            if tool != before:  # operators' scripts say it at every start
                await self._keep(tool)
        return answered(arrival, _view(tool))

    async def toggle(self, arrival: Arrival, caller: Caller, name: str, scope: str, document: Json) -> Response:
        """Raises Refusal. To switch a tool off takes no more than the api_key."""
        enabled = document.get("enabled")
        if not isinstance(enabled, bool):
            raise unprocessable("enabled must be true or false")
        if enabled:
            _administrates(caller)
        async with self._governance.lock:
            tool = self._find(arrival, name, scope)._replace(enabled=enabled)
            await self._keep(tool)
        return answered(arrival, _view(tool))

    async def delete(self, arrival: Arrival, caller: Caller, name: str, scope: str) -> Response:
        """Raises Refusal. (With a registration a default upstream's tool of that name would come back.)"""
        _administrates(caller)
        async with self._governance.lock:
            self._find(arrival, name, scope)
            try:
                await self._governance.delete_tool(scope, name)
            except StoreError:
                raise unwritten() from None
        return answered(arrival, {"ok": True, "deleted": name})

    def _judge(self, snapshot: Snapshot, tool: RegisteredTool) -> None:
        """Raises Refusal where the policy file has the name, or lets nothing go to the address."""
        plan = snapshot.plan(tool.scope.removeprefix(AGENT_SCOPE), tool.name)
        if plan.registered is None and not is_free(plan, named=tool.name in snapshot.tools()):
            raise unprocessable("name: the policy file has a tool of this name, or keeps its family for itself")
        if not host_allowed(plan.egress, tool.target.host) or tool.target.port not in plan.egress.ports:
            raise unprocessable(
                "url: its host and port are not listed in egress.allow_hosts and egress.ports of the policy file"
            )
        objection = self._objection(plan, tool.target)
        if objection is not None:
            raise unprocessable(f"url: {objection}")

    async def _keep(self, tool: RegisteredTool) -> None:
        try:
            await self._governance.put_tool(tool)
        except FullError as error:
            raise unprocessable(str(error)) from None
        except StoreError:
            raise unwritten() from None

    def _find(self, arrival: Arrival, name: str, scope: str) -> RegisteredTool:
        found = self._governance.overlay.tools.get((scope, name))
        if found is None:
            if scope == GLOBAL and name in arrival.snapshot.tools():
                raise unprocessable("the policy file has this tool, and it is changed there")
            raise not_found("No tool of this name is registered in this scope (scope_id).")
        return found


def _secret_id(tool: RegisteredTool, before: RegisteredTool | None) -> str | None:
    """Changes with the secret and tells nothing of it."""
    if tool.secret is None:
        return None
    if before is not None and before.secret == tool.secret:
        return before.secret_id
    return f"sec_{token_hex(8)}"


def _administrates(caller: Caller) -> None:
    if not caller.administrates:
        raise unprocessable("to register tools takes governed.admin_key as the bearer (or governed.open in the policy)")


def _view(tool: RegisteredTool) -> Json:
    """What was registered, and of the secret that there is one."""
    shown = tool_note(tool)
    secret = tool.secret
    return shown | {
        "auth": None if secret is None else {"type": "hmac_sha256"},
        "timeout_ms": round(tool.timeout * 1000),
        "has_secret": secret is not None,
        "secret_id": tool.secret_id,
        "secret_mask": None if secret is None else "***" + secret[-_SHOWN:],
        "source": "registered",
    }


def _spelled_out(snapshot: Snapshot) -> list[str]:
    names = snapshot.tools()
    return [*names, *sorted(name for name in BUILT_IN if name not in names)]


def _of_the_file(snapshot: Snapshot, names: Iterable[str]) -> list[Json]:
    """By name alone: where they are performed is the operator's affair."""
    return [
        {"name": name, "scope_id": GLOBAL, "enabled": True, "has_secret": False, "source": "policy"}
        for name in names
        if (plan := snapshot.plan("", name)).allowed and plan.registered is None and plan.missing is None
    ]
