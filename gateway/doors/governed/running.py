"""POST /v1/ai/run: a governed call is a ToolCall like any other. What is particular here is its form on both sides."""

import hmac
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import orjson
from aiohttp.web_response import Response

from gateway.denial import Denial, Reason
from gateway.doors.answers import SERVER, outcome_headers, problem_of
from gateway.doors.arguments import hash_of, written
from gateway.doors.arrival import Arrival
from gateway.doors.governed.asking import Agents, Json, not_found, unprocessable
from gateway.doors.governed.results import RISKS, query_of, result_of, verdict_of
from gateway.doors.identity import RUN_ID
from gateway.doors.refusal import Refusal
from gateway.model import Door, Outcome, Reply, ToolCall, UpstreamError
from gateway.pipeline.failures import Cut, no_memory
from gateway.pipeline.pipeline import OpenCall, Pipeline
from gateway.pipeline.rollout import Rollout
from gateway.pipeline.shadow import Shadow
from gateway.policy import targets
from gateway.policy.plans.patterns import is_tool_name
from gateway.policy.plans.tools import FETCHED, micro_usd
from gateway.policy.remembered import remembered
from gateway.policy.snapshot import Plan, RegisteredTool
from gateway.state.buffers import Buffers

DEADLINE = 4.5
"""Seconds, where the policy does not set the tool's: the SDK gives up, and sends the request again, after 5."""
MOST_USD = 1_000_000
_BODILESS = frozenset({"GET", "HEAD"})
_NOT_PASSED_ON = ("accept-encoding", "content-", "digest", "range")
"""How headers begin that would speak of another body than what is sent, or ask for a reply that cannot be read here."""
Fetched = Callable[[Arrival, bytes], ToolCall]
"""The fetch door's way from arguments to a call. Raises Refusal."""


class Asked(NamedTuple):
    """The body of the request."""

    agent: str
    tool: str
    args: dict[str, object]
    """Without the run's id."""
    run: str | None
    spend: int
    """Micro-USD."""


class Running:
    """Constructed once, by the door."""

    def __init__(
        self, pipeline: Pipeline, rollout: Rollout, buffers: Buffers, agents: Agents, fetched: Fetched
    ) -> None:
        self._pipeline = pipeline
        self._rollout = rollout
        self._buffers = buffers
        self._agents = agents
        self._fetched = fetched

    async def answer(self, arrival: Arrival, document: Json) -> Response:
        """Raises Refusal where the request is malformed; whatever policy says of it is an answer."""
        asked = _asked(document, self._agents)
        del document  # what was parsed takes many times what was sent: the pipeline lets go of it, so this must, too
        arrival.agent, arrival.tool, arrival.query = asked.agent, asked.tool, ""
        arrival.run = arrival.run or asked.run or ""
        if self._rollout.candidate is not None:
            arrival.choose(self._rollout)
        plan = arrival.plan = governed_plan(arrival.snapshot.plan(asked.agent, asked.tool))
        arrival.own_token = True  # it is the gateway's key, whatever the tool forwards
        try:
            call = self._call(arrival, plan, asked)
        except Refusal as refusal:
            return self._refuse(arrival, plan, refusal.denial)
        finally:
            arrival.door = Door.GOVERNED
        if not self._buffers.take(len(call.body) if isinstance(call.body, bytes) else 0):
            return self._refuse(arrival, plan, no_memory())
        answer, shadow = partial(self._answer, arrival, plan), self._shadow(arrival, call)
        handling = self._pipeline.handle(call, plan, arrival.snapshot.version, answer, shadow)
        del asked, call
        return await handling

    def _shadow(self, arrival: Arrival, call: ToolCall) -> Shadow | None:
        if arrival.other is None:
            return None
        other = governed_plan(arrival.other.plan(arrival.agent, arrival.tool))
        return Shadow(arrival.canary, arrival.tool, other, None, len(call.body) if isinstance(call.body, bytes) else 0)

    def _call(self, arrival: Arrival, plan: Plan, asked: Asked) -> ToolCall:
        """Raises Refusal."""
        args = written(asked.args)
        if len(args) > plan.max_request_bytes:
            detail = f"The arguments are larger than this tool's limit of {plan.max_request_bytes} bytes (max_request_bytes). Send less."
            raise Refusal(Denial(Reason.REQUEST_TOO_LARGE, detail))
        if plan.registered is not None and plan.builtin:
            call = _signed(arrival, plan.registered, asked, args)
        elif asked.tool in FETCHED and (plan.allowed or plan.report):
            # The arguments say where to go, and nothing of them goes there.
            call = self._fetched(arrival, args)._replace(body=b"", shown=args)
        elif plan.allowed or plan.report:
            _refuse_elsewhere(plan)
            call = _posted(arrival, plan, asked, args)
        else:
            call = arrival.call(args, headers=(), hashed=hash_of(asked.tool, plan.method, "", "", args))
        # A blank stands in no Idempotency-Key of a caller's.
        key = f"governed {sha256(f'{call.args_hash} {call.run.id}'.encode()).hexdigest()}"
        return call._replace(door=Door.GOVERNED, spend=asked.spend, idempotency_key=key, lingers=True)

    async def _answer(self, arrival: Arrival, plan: Plan, opened: OpenCall) -> Response:
        outcome = opened.outcome
        reply = outcome.reply
        held = _Held(self._buffers)
        try:
            if reply is not None and reply.body is None:
                await opened.pass_on(held.write, held.end)
                outcome.reply = Reply(reply.status, reply.headers, b"".join(held.pieces))
            return _told(arrival, plan, outcome)
        except Cut as cut:
            outcome.reply, outcome.denial, outcome.reason = None, cut.denial, cut.denial.reason
            return _told(arrival, plan, outcome)
        finally:
            held.give()

    def _refuse(self, arrival: Arrival, plan: Plan, denial: Denial) -> Response:
        """Before the guards, but logged and told like what they say."""
        call = arrival.call(headers=())._replace(door=Door.GOVERNED)
        return _told(arrival, plan, self._pipeline.refuse(call, plan, arrival.snapshot.version, denial))


@remembered  # what is found out about a plan is found by its identity
def governed_plan(plan: Plan) -> Plan:
    """A plan with this door's deadline, and for a registered tool the way to it."""
    tool = plan.registered
    if tool is None or not tool.enabled:
        return replace(plan, stream=False, deadline=plan.deadline if plan.deadline_written else DEADLINE)
    return replace(
        plan,
        builtin=True,
        missing=None,
        stream=False,
        timeout=tool.timeout,
        deadline=tool.timeout if tool.timeout_written else DEADLINE,
        retries=replace(plan.retries, max=tool.max_retries),
    )


def _asked(document: Json, agents: Agents) -> Asked:
    """Raises Refusal."""
    if "tool" not in document and "key" in document:
        raise not_found(
            "Background runs (ai/run with a key) are not built; a tool is called with agent_id, tool and args."
        )
    tool, args, spend = document.get("tool"), document.get("args"), document.get("spend_usd")
    if not isinstance(tool, str) or not is_tool_name(tool):
        raise unprocessable("tool must be a name of A-Z a-z 0-9 _ - with dots between (at most 128 characters)")
    if args is not None and not isinstance(args, dict):
        raise unprocessable("args must be an object")
    args = dict(args or {})
    run = args.pop("run_id", None)
    if run is not None and (not isinstance(run, str) or not RUN_ID.fullmatch(run)):
        raise unprocessable("args.run_id must be 1 to 128 characters of A-Z a-z 0-9 . _ : -")
    return Asked(agents.calling(document.get("agent_id")), tool, args, run, _micro_usd(spend))


def _micro_usd(spend: object) -> int:
    if spend is None:
        return 0
    if isinstance(spend, bool) or not isinstance(spend, int | float) or not 0 <= spend <= MOST_USD:
        raise unprocessable(f"spend_usd must be a number from 0 to {MOST_USD}")
    return micro_usd(spend)


def _refuse_elsewhere(plan: Plan) -> None:
    """Raises Refusal for what this door does not perform."""
    if plan.upstream is not None and plan.upstream.mcp is not None:
        server = plan.upstream.name
        how = f"is a tool of the MCP server {server}: an MCP client calls it at /mcp/{server}"
    elif plan.builtin:
        how = f"is a request through the proxy (HTTP_PROXY, HTTPS_PROXY); only {' and '.join(sorted(FETCHED))} are called here"
    else:
        return
    raise Refusal(Denial(Reason.TOOL_NOT_CONFIGURED, f"{plan.tool} {how}. Go on without it here."))


def _posted(arrival: Arrival, plan: Plan, asked: Asked, args: bytes) -> ToolCall:
    """To the tool's path: the arguments as a JSON body, or as the query where the tool takes GET."""
    bodiless = plan.method in _BODILESS
    query = query_of(asked.args) if bodiless else ""
    arrival.target = plan.path + (f"?{query}" if query else "")
    body = b"" if bodiless else args
    call = arrival.call(
        body,
        method=plan.method,
        arguments=asked.args,
        hashed=hash_of(asked.tool, plan.method, "", query, body),
        shown=args,
    )
    kept = tuple((name, value) for name, value in call.headers if not name.lower().startswith(_NOT_PASSED_ON))
    return call._replace(headers=kept if bodiless else (("Content-Type", "application/json"), *kept), query=query)


def _signed(arrival: Arrival, tool: RegisteredTool, asked: Asked, args: bytes) -> ToolCall:
    """To where the tool was registered. The signature covers the body, as the vendor's tools check it."""
    about = {"tool": tool.name, "args": orjson.Fragment(args), "agent_id": asked.agent, "call_id": arrival.call_id}
    body = orjson.dumps(about | ({"run_id": arrival.run} if arrival.run else {}))
    headers = [("Content-Type", "application/json"), ("User-Agent", SERVER)]
    if tool.secret is not None:
        headers += [
            ("X-OnceOnly-Signature", hmac.new(tool.secret.encode(), body, sha256).hexdigest()),
            ("X-OnceOnly-Signature-Alg", "hmac_sha256"),
            ("X-OnceOnly-Timestamp", str(int(arrival.started.wall))),
        ]
    call = arrival.call(
        body,
        method="POST",
        headers=tuple(headers),
        destination=tool.target,
        arguments=asked.args,
        hashed=hash_of(tool.name, "POST", "", "", args),
        shown=args,
    )
    rest, _, query = targets.written(tool.target).partition("?")
    return call._replace(rest=rest, query=query)


class _Held:
    """Where a long reply is gathered: it is answered when all of it is there."""

    def __init__(self, buffers: Buffers) -> None:
        self.pieces: list[bytes] = []
        self._buffers = buffers
        self._taken = 0

    async def write(self, piece: bytes) -> None:
        """Raises UpstreamError where there is no room for it."""
        if not self._buffers.take(len(piece)):
            what = "the gateway holds as many bytes of requests and replies as it may (GATEWAY_MAX_BUFFERED_BYTES)"
            raise UpstreamError("response_too_large", what, sent=True)
        self._taken += len(piece)
        self.pieces.append(piece)

    async def end(self) -> None:
        """Nothing has to be written."""

    def give(self) -> None:
        """All of it back."""
        self._buffers.give(self._taken)


def _told(arrival: Arrival, plan: Plan, outcome: Outcome) -> Response:
    """Always 200: the SDK takes 403 for a bad key and 402 for a spent plan, and sends a 429 or 5xx again."""
    reply, denial = outcome.reply, outcome.denial
    verdict = verdict_of(outcome.reason, plan.rule)
    result: object = None
    if denial is not None:
        result = problem_of(denial, arrival.call_id, arrival.tool, arrival.run, outcome.policy)
    elif reply is not None:
        as_page = plan.builtin and plan.registered is None
        result = result_of(reply.status, reply.headers, reply.body or b"", as_page=as_page)
    document = {
        "ok": reply is not None and reply.status < 400,
        **verdict._asdict(),
        "risk_level": RISKS[plan.effect],
        "result": result,
        "call_id": arrival.call_id,
    }
    headers = outcome_headers(arrival.call_id, outcome)
    headers |= {"Content-Type": "application/json", "Server": SERVER}
    return Response(body=orjson.dumps(document), headers=headers)
