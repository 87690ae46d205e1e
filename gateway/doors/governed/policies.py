"""/v1/policies: what an agent may do, said by whoever has the key. It narrows the policy file; the five templates stand here."""

from collections.abc import Mapping

from aiohttp.web_response import Response

from gateway.denial import Denial, Reason
from gateway.doors.arrival import Arrival
from gateway.doors.governed.asking import Agents, Caller, Json, answered, not_found, unprocessable
from gateway.doors.governed.governance import Governance
from gateway.doors.governed.shelf import FullError
from gateway.doors.refusal import Refusal
from gateway.model import Effect
from gateway.policy.governed import ApiPolicy, Governing, policy_document, read, widened
from gateway.policy.plans.tools import FETCHED
from gateway.policy.snapshot import Snapshot
from gateway.state.stores import StoreError

TEMPLATES: Mapping[str, Json] = {
    "strict": {"allowed_tools": [], "max_actions_per_hour": 30, "max_spend_usd_per_day": 1.0},
    "moderate": {"max_actions_per_hour": 200, "max_spend_usd_per_day": 10.0},
    "permissive": {"max_actions_per_hour": 2000, "max_spend_usd_per_day": 100.0},
    "read_only": {"max_actions_per_hour": 500, "max_spend_usd_per_day": 5.0},
    "support_bot": {
        "blocked_tools": ["payments.*", "billing.*", "shell.*", "admin.*"],
        "max_actions_per_hour": 150,
        "max_spend_usd_per_day": 50.0,
    },
}
"""Our own contents: the vendor does not publish his (docs/governed.md). `read_only` allows the reads that the policy file names."""


class Policies:
    """Constructed once, by the door."""

    def __init__(self, governance: Governance, agents: Agents) -> None:
        self._governance = governance
        self._agents = agents

    def list(self, arrival: Arrival) -> Response:
        policies = self._governance.overlay.policies
        return answered(arrival, [_view(policies[agent]) for agent in sorted(policies) if self._agents.concern(agent)])

    def show(self, arrival: Arrival, agent: str) -> Response:
        """Raises Refusal where the agent has none."""
        found = self._governance.overlay.policies.get(agent)
        if found is None:
            raise not_found("This agent has no policy here: the policy file's word holds. POST one to this path.")
        return answered(arrival, _view(found))

    async def put(self, arrival: Arrival, caller: Caller, agent: str, document: Json) -> Response:
        """In place of the agent's earlier one, as a whole. Raises Refusal."""
        if document.setdefault("agent_id", agent) != agent:
            raise unprocessable("the agent_id of the body is not that of the path")
        try:
            after = Governing(read(ApiPolicy, document))
        except ValueError as error:
            raise unprocessable(str(error)) from None
        governance = self._governance
        async with governance.lock:
            before = governance.overlay.policies.get(agent)
            raised = None if before is None or caller.administrates else widened(before, after)
            if raised is not None:
                raise unprocessable(
                    f"{raised} would be wider than in the policy that this agent has, which takes governed.admin_key"
                )
            try:
                if before is None or before.policy != after.policy:  # agents say it at every start
                    await governance.put_policy(after)
            except FullError as error:
                raise unprocessable(str(error)) from None
            except StoreError:
                raise unwritten() from None
        return answered(arrival, _view(after))

    async def from_template(self, arrival: Arrival, caller: Caller, agent: str, document: Json) -> Response:
        """A template's contents with the caller's own word over them. Raises Refusal."""
        if document.get("agent_id", agent) != agent:
            raise unprocessable("the agent_id of the body is not that of the path")
        name, overrides = document.get("template"), document.get("overrides") or {}
        if not isinstance(name, str) or name not in TEMPLATES:
            raise unprocessable(f"template must be one of {', '.join(TEMPLATES)}")
        if not isinstance(overrides, dict):
            raise unprocessable("overrides must be an object")
        reads = {"allowed_tools": _reads(arrival.snapshot)} if name == "read_only" else {}
        return await self.put(arrival, caller, agent, {**TEMPLATES[name], **reads, **overrides})


def _reads(snapshot: Snapshot) -> list[str]:
    """Tools that the policy file names or that are built in, and whose effect is read."""
    names = FETCHED.union(snapshot.tools())
    return sorted(name for name in names if snapshot.plan("", name).effect is Effect.READ)


def unwritten() -> Refusal:
    """503, which clients repeat: nothing was changed."""
    detail = "This cannot be written down, so nothing was changed. Try again later; an operator has to look at the gateway's state."
    return Refusal(Denial(Reason.STATE_UNAVAILABLE, detail, retry_after=1.0))


def _view(governing: Governing) -> Json:
    """The SDK shows its caller the nested object alone."""
    policy = policy_document(governing.policy)
    return {"agent_id": policy["agent_id"], "policy": policy}
