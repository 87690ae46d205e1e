"""Run control for agents: what is left of a run, one more step, the end. Sees only the caller's own runs."""

from collections.abc import Callable

import orjson
from aiohttp.web_response import Response

from gateway.denial import Denial, Reason
from gateway.doors.answers import SERVER, outcome_headers, problem
from gateway.doors.arrival import Arrival
from gateway.doors.bodies import read_small_body
from gateway.doors.identity import RUN_ID
from gateway.doors.methods import check_method
from gateway.doors.refusal import Refusal
from gateway.guards.run_control import judge_step
from gateway.model import Budgets, Moment, Outcome, RunKey
from gateway.pipeline import failures
from gateway.pipeline.pipeline import Pipeline
from gateway.pipeline.rollout import Rollout
from gateway.state.counts import Counts
from gateway.state.run import Run, stop_reason_of, usd_of

USAGE = "GET /_gateway/runs/ID tells the counts, POST /_gateway/runs/ID/steps adds a step, POST /_gateway/runs/ID/finish ends the run."
ACTIONS = {"": frozenset(["GET", "HEAD"]), "steps": frozenset(["POST"]), "finish": frozenset(["POST"])}
STOP_REASON_LENGTH = 64
NO_SUCH_RUN = "This agent has no such run. A run starts with its first call or step, and is remembered for 24 hours."
ENDED_HERE = (
    "The run has ended on this gateway. The gateways that share its counts may not know yet, since their store did not answer: they will be"
    " told. Finish the run again to hear when they know."
)


class RunControl:
    """Answers below /_gateway/runs. No ToolCall: nothing is performed, only counted."""

    def __init__(
        self, counts: Counts, pipeline: Pipeline, rollout: Rollout, clock: Callable[[], Moment], *, read_timeout: float
    ) -> None:
        self._counts = counts
        self._pipeline = pipeline
        self._rollout = rollout
        self._clock = clock
        self._read_timeout = read_timeout

    async def answer(self, arrival: Arrival) -> Response:
        """Raises Refusal where the path, the method or the run id is not taken."""
        run_id, _, action = arrival.path.removeprefix("/_gateway/runs/").partition("/")
        if not RUN_ID.fullmatch(run_id) or action not in ACTIONS:
            raise Refusal(
                Denial(Reason.INVALID_REQUEST, USAGE, status_override=404 if RUN_ID.fullmatch(run_id) else None)
            )
        check_method(arrival, ACTIONS[action])
        arrival.run = run_id
        key = RunKey(arrival.agent, run_id)
        arrival.snapshot = self._rollout.snapshot_of(key)
        budgets = arrival.snapshot.budgets(arrival.agent)
        stop_reason = await _stop_reason(arrival, self._read_timeout) if action == "finish" else ""
        shared = self._pipeline.shared
        asked = shared is None or await shared.look(key, budgets)
        if action == "steps":
            return await self._step(arrival, key, budgets)
        run = self._counts.ledger.find(key, budgets, self._clock())
        if run is None:
            denial = (
                Denial(Reason.INVALID_REQUEST, NO_SUCH_RUN, status_override=404) if asked else failures.unknown_run()
            )
            return self._problem(arrival, key, budgets, denial)
        if action == "finish":
            return await self._finish(arrival, run, budgets, stop_reason)
        return self._counts_of(arrival, run, budgets)

    async def _step(self, arrival: Arrival, key: RunKey, budgets: Budgets) -> Response:
        now = self._clock()
        snapshot = arrival.snapshot
        denial = judge_step(key, budgets, snapshot.limits(key.agent), self._counts, now, report=snapshot.report)
        if denial is not None:
            return self._refuse_step(arrival, key, budgets, denial)
        known = self._counts.ledger.find(key, budgets, now) is not None
        run = self._counts.ledger.add_step(key, budgets, now)
        if not known:
            self._pipeline.run_started(key, now)
        if self._pipeline.shared is not None:
            denial = await self._pipeline.shared.step(run, budgets, report=snapshot.report)
            if denial is not None:
                return self._refuse_step(arrival, key, budgets, denial)
        return self._counts_of(arrival, run, budgets)

    def _refuse_step(self, arrival: Arrival, key: RunKey, budgets: Budgets, denial: Denial) -> Response:
        now = self._clock()
        ended = self._counts.ledger.exhaust(key, denial.reason, now)
        if ended is not None:
            self._pipeline.run_finished(ended, now)
        return self._problem(arrival, key, budgets, denial)

    async def _finish(self, arrival: Arrival, run: Run, budgets: Budgets, stop_reason: str) -> Response:
        """Answered 200 once no gateway takes a call of the run any more."""
        now = self._clock()
        ended = self._counts.ledger.finish(run.key, stop_reason, now)
        if ended is not None:
            self._pipeline.run_finished(ended, now)
        sure = await self._pipeline.knows_end(run.key, budgets)
        return self._counts_of(arrival, run, budgets, but="" if sure else ENDED_HERE)

    def _counts_of(self, arrival: Arrival, run: Run, budgets: Budgets, *, but: str = "") -> Response:
        """`but`: what was asked for is done in part."""
        now = self._clock()
        remaining = self._counts.ledger.remaining(run.key, budgets, now)
        used = {"tool_calls": run.tool_calls, "steps": run.steps, "seconds": round(run.elapsed(now), 3)}
        limits = {"tool_calls": budgets.max_tool_calls, "steps": budgets.max_steps, "seconds": budgets.max_seconds}
        left = {"tool_calls": remaining.tool_calls, "steps": remaining.steps, "seconds": remaining.seconds}
        usd = usd_of(run, budgets)
        body = {
            "run_id": run.key.id,
            "agent_id": run.key.agent,
            "counts": used if usd is None else {**used, "usd": usd.used},
            "limits": limits if usd is None else {**limits, "usd": usd.limit},
            "remaining": left if usd is None else {**left, "usd": usd.remaining},
            "stop_reason": stop_reason_of(run, budgets, now),
        }
        if but:
            body["detail"] = but
        headers = self._headers(arrival, run.key, budgets, Reason.OK)
        headers |= {"Content-Type": "application/json", "Server": SERVER}
        return Response(status=202 if but else 200, body=orjson.dumps(body), headers=headers)

    def _problem(self, arrival: Arrival, key: RunKey, budgets: Budgets, denial: Denial) -> Response:
        return problem(arrival, denial, self._headers(arrival, key, budgets, denial.reason), arrival.snapshot.version)

    def _headers(self, arrival: Arrival, key: RunKey, budgets: Budgets, reason: Reason) -> dict[str, str]:
        remaining = self._counts.ledger.remaining(key, budgets, self._clock())
        snapshot = arrival.snapshot
        outcome = Outcome(reason, snapshot.version, 0, remaining=remaining, report=snapshot.report)
        return outcome_headers(arrival.call_id, outcome)


async def _stop_reason(arrival: Arrival, read_timeout: float) -> str:
    """From an optional body {"stop_reason": WORD}; "finish" by default."""
    body = await read_small_body(arrival.request, STOP_REASON_LENGTH * 4, read_timeout)
    if not body:
        return "finish"
    try:
        document = orjson.loads(body)
    except ValueError:
        document = None
    word = document.get("stop_reason", "finish") if isinstance(document, dict) else None
    if not isinstance(word, str) or not RUN_ID.fullmatch(word) or len(word) > STOP_REASON_LENGTH:
        detail = 'The body of finish is empty or {"stop_reason": "WORD"}, a word of A-Z a-z 0-9 . _ : - (at most 64).'
        raise Refusal(Denial(Reason.INVALID_REQUEST, detail))
    return word
