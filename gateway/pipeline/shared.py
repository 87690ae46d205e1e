"""Where a gateway is one of a fleet: the one awaited step between a call's reservation and its first attempt, and what comes of it."""

from collections.abc import Callable
from typing import Protocol

from gateway.denial import Denial, Reason
from gateway.guards import REPORTABLE
from gateway.guards.fleet import local_objection, objection
from gateway.guards.run import ended
from gateway.guards.steps import out_of_steps
from gateway.model import Budgets, Moment, RunKey, ToolCall
from gateway.pipeline import failures
from gateway.pipeline.progress import GivenBack, Progress
from gateway.policy.snapshot import Plan
from gateway.state.counts import Counts
from gateway.state.journal import NoJournal
from gateway.state.run import Run, is_window
from gateway.state.shared import Answer, Ask, RunSeen

LONGEST = 0.25
"""Seconds a call waits for the store, at most (SPEC 1): for its charge, and before that to claim its Idempotency-Key."""


class Share(GivenBack, Protocol):
    """As it is asked for here."""

    answer: Answer | None
    """Once it is heard; None: there was none."""

    async def heard_within(self, seconds: float) -> None:
        """Waits until the answer is here, or will not come, or for so long: then the call goes its way without one."""
        ...


class Fleet(Protocol):
    """The gateways that share counts, as this one reaches them (state/stores/valkey)."""

    @property
    def up(self) -> bool: ...

    @property
    def blind(self) -> bool:
        """It has not been reached since the start: nobody here knows what was stopped or set for all gateways."""
        ...

    def charge(self, ask: Ask) -> Share: ...

    def pending(self, key: RunKey) -> tuple[int, int]:
        """Calls, and their micro-USD, that are asked for and not answered."""
        ...

    async def look(
        self, key: RunKey, max_seconds: float, step_below: int | None = None
    ) -> tuple[str, RunSeen] | None: ...

    def stepped_alone(self, key: RunKey, steps: int) -> None:
        """A step that the fleet could not be asked for was taken all the same."""
        ...

    def end(self, key: RunKey, by: str, stop_reason: str) -> None: ...

    def heard_end(self, key: RunKey, by: str, stop_reason: str) -> None: ...


class SharedCharges:
    """Constructed once, by app.py, where GATEWAY_STATE names a store that several gateways share."""

    def __init__(
        self, fleet: Fleet, counts: Counts, clock: Callable[[], Moment], run_finished: Callable[[Run, Moment], None]
    ) -> None:
        self._fleet = fleet
        self._counts = counts
        self._clock = clock
        self._run_finished = run_finished
        counts.ledger.fleet = fleet
        counts.ledger.journal = NoJournal(lambda key, by, stop_reason: fleet.end(key, by.value, stop_reason))

    def concerns(self, call: ToolCall, plan: Plan) -> bool:
        """Is the call charged to anything that other gateways count too? Calls of no run, under no limit of their agent, are not."""
        limits = plan.limits
        return (
            not is_window(call.run)
            or limits.max_actions_per_hour is not None
            or limits.max_calls is not None
            or limits.max_spend is not None
            or self._fleet.blind
        )

    async def charge(self, progress: Progress, plan: Plan) -> Denial | None:
        """The call is reserved here. Refused by the fleet's counts, it is not sent, and so it is given back like any other."""
        call, reservation = progress.call, progress.reservation
        if reservation is None or not self.concerns(call, plan):
            return None
        run = reservation.run
        share = progress.share = self._fleet.charge(_ask(call, plan, run))
        await share.heard_within(LONGEST - progress.asked_for)
        now = self._clock()
        if share.answer is not None:
            denial = self._take(share.answer, call, plan, run, now)
        elif plan.allow_without_state:
            denial = local_objection(call, plan, run)
        else:
            return self.unheard(plan) or failures.not_durable()
        if denial is not None and plan.report and denial.reason in REPORTABLE:
            progress.let_pass(denial.reason)
            return None
        return denial

    def unheard(self, plan: Plan) -> Denial | None:
        """What an operator has stopped for all, or an API policy narrows, is not known since the start: to serve would be to guess."""
        return failures.unheard() if self._fleet.blind and not plan.allow_without_state else None

    async def step(self, run: Run, budgets: Budgets, *, report: bool) -> Denial | None:
        """A step that was added here. It stands where the fleet cannot be asked: calls are what on_unavailable decides about."""
        key = run.key
        looked = await self._fleet.look(key, budgets.max_seconds, budgets.max_steps)
        if looked is None:
            self._fleet.stepped_alone(key, run.steps or 0)
            return None
        word, seen = looked
        now = self._clock()
        run.steps = None
        self._learn(run, seen, now)
        if word == "ended":
            return ended(run, budgets, now)
        return out_of_steps(run, budgets, now) if word == "steps" and not report else None

    async def look(self, key: RunKey, budgets: Budgets) -> bool:
        """The ledger knows of the run what all gateways know. False: as far as it did before, since they cannot be asked."""
        if is_window(key):
            return True
        looked = await self._fleet.look(key, budgets.max_seconds)
        if looked is not None and looked[0] != "unknown":
            now = self._clock()
            self._learn(self._counts.ledger.take_up(key, budgets, now), looked[1], now)
        return looked is not None

    async def knows_end(self, key: RunKey, budgets: Budgets) -> bool:
        """Does the store, which every gateway asks before a call of the run, have the end that it was given here? False: nobody can say.
        Then the others are told once the store can be reached. A window has no end.
        """
        if is_window(key):
            return True
        looked = await self._fleet.look(key, budgets.max_seconds)  # behind the end, on the same connection
        return looked is not None and looked[0] == "ended"

    def _take(self, answer: Answer, call: ToolCall, plan: Plan, run: Run, now: Moment) -> Denial | None:
        if not run.window:
            self._learn(run, answer.run, now)
        denial = objection(answer, call, plan, run, now)
        if not run.window and not answer.charged:  # it is still reserved here, and will be given back
            run.tool_calls += 1
            run.spend += plan.price(call.spend)
        return denial

    def _learn(self, run: Run, seen: RunSeen, now: Moment) -> None:
        self._counts.ledger.learn(run, seen, self._fleet.pending(run.key), now)
        if seen.ended_by is not None and run.ended is None:
            self._fleet.heard_end(run.key, seen.ended_by, seen.stop_reason or "")
            over = self._counts.ledger.end(run.key, Reason(seen.ended_by), seen.stop_reason or "", now)
            if over is not None:
                self._run_finished(over, now)


def _ask(call: ToolCall, plan: Plan, run: Run) -> Ask:
    budgets, limits = plan.budgets, plan.limits
    return Ask(
        id=call.id,
        run=RunKey(call.agent, "") if run.window else call.run,
        tool=call.tool,
        spend=plan.price(call.spend),
        step=call.step or 0,
        per_hour=limits.max_actions_per_hour,
        spend_per_day=limits.max_spend,
        tool_per_day=limits.max_calls,
        run_calls=budgets.max_tool_calls,
        run_spend=budgets.max_spend,
        run_seconds=budgets.max_seconds,
        run_tool=plan.max_calls,
        forced=plan.report,
        goes_on_alone=plan.allow_without_state,
    )
