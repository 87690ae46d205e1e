"""What operators can do. One object that app.py constructs; what they can ask is in inspection.py."""

from dataclasses import dataclass

from gateway.admin import answers
from gateway.admin.inspection import Inspection
from gateway.admin.views import blast_radius, switch_event, switch_view
from gateway.guards.interruption import interrupt_killed, interrupt_run
from gateway.model import Event, KillSwitch, Moment, RunKey, Source
from gateway.pipeline.failures import place_of
from gateway.pipeline.rollout import NOTE
from gateway.state.stores import StoreError
from gateway.state.switches import parse_scope


class NotFound(Exception):
    """One sentence: there is nothing of that name."""


class Conflict(Exception):
    """One sentence: it was done, but something else holds."""

    def __init__(self, sentence: str, held_by: list[answers.Switch]) -> None:
        super().__init__(sentence)
        self.held_by = held_by


@dataclass(slots=True)
class Operations(Inspection):
    """In effect when a method returns. The async ones wait for what keeps it, a disk or a store, and for nothing else."""

    async def check_policy(self, text: bytes) -> answers.CheckedPolicy:
        """Would this policy be taken? It is not put in force."""
        snapshot, problems = await self.policies.check(text)
        return {
            "ok": snapshot is not None,
            "version": snapshot.version if snapshot else None,
            "problems": list(problems),
            "warnings": list(snapshot.warnings) if snapshot else [],
            "overrides": list(snapshot.overrides) if snapshot else [],
        }

    async def reload(self) -> answers.Reloaded:
        """Reads the folder now rather than within the second."""
        before = self.policies.snapshot.version
        problems = await self.policies.reload()
        after = self.policies.snapshot.version
        return {"ok": not problems, "version": after, "changed": after != before, "problems": list(problems)}

    async def kill(
        self, scope: str, reason: str, who: str, for_seconds: float | None, *, cancel_in_flight: bool
    ) -> answers.Killed:
        """In effect when this returns, and before it waits for the disk. Raises ValueError where `scope` is none."""
        now = self.clock()
        until = None if for_seconds is None else now.wall + for_seconds
        switch = KillSwitch(parse_scope(scope), reason, who, now.wall, until, cancel_in_flight, Source.RUNTIME)
        self.counts.switches.put(switch)
        interrupt_killed(self.counts, [switch], now)
        self.observer.happened(switch_event("on", switch, now))
        reach = self.keeper.reach
        try:
            await self.keeper.put_switch(switch)
        except StoreError as error:
            reach = f"this instance; LOST at a restart, since it could not be written: {error}"
        says = blast_radius(switch.scope, cancel_in_flight=cancel_in_flight)
        return {"kill_switch": switch_view(switch), "says": says, "reach": reach}

    async def restore(self, scope: str) -> answers.Restored:
        """Lifts the runtime switch of this very scope. Raises ValueError, NotFound, and Conflict where another source holds it."""
        now = self.clock()
        wanted = parse_scope(scope)
        lifted = self.counts.switches.lift(wanted)
        for switch in lifted:
            self.observer.happened(switch_event("off", switch, now))
        reach = self.keeper.reach
        try:
            for switch in lifted:
                await self.keeper.delete_switch(switch)
        except StoreError as error:
            reach = f"this instance; it COMES BACK at a restart, since that could not be written: {error}"
        holding = self.counts.switches.holding(wanted, now)
        if holding:
            raise Conflict(_still_held(scope, holding, lifted=bool(lifted)), [switch_view(held) for held in holding])
        if not lifted:
            raise NotFound(self._none_such(now))
        others = [switch_view(other) for other in self.counts.switches.active(now)]
        return {"lifted": str(wanted), "still_on": others, "reach": reach}

    async def roll_back(self, reason: str, who: str) -> answers.RolledBack:
        """In effect when this returns, and before it waits for the disk. Raises NotFound where no candidate is on trial."""
        back = self.rollout.roll_back(reason, who, self.clock())
        if back is None:
            told = "is rolled back already" if self.rollout.ignored else "is not on trial"
            raise NotFound(f"No candidate to roll back: candidate.yaml {told}.")
        reach = self.keeper.reach
        try:
            await self.keeper.put_note(NOTE, back.note())
        except StoreError as error:
            reach = f"this instance; it IS TRIED AGAIN after a restart, since that could not be written: {error}"
        return {**self.trial(), "reach": reach}

    async def stop_run(self, key: RunKey) -> answers.StoppedRun | None:
        """Ends the run for good: a kill switch can be lifted, this cannot. Calls of it at a tool run to their end."""
        now = self.clock()
        stopped = self.counts.ledger.stop(key, now)
        if stopped is not None:
            interrupt_run(self.counts, key, cancel_in_flight=False)
            self.run_finished(stopped, now)
        run = stopped or self._find(key, now)
        if run is None:
            return None
        sure = await self.knows_end(key, self.rollout.budgets_of(key))
        reach = (
            self.keeper.reach
            if sure
            else "this instance; its store does not answer: all others once it does, stop the run again to hear when"
        )
        return {**self._run_view(run, now), "stopped_now": stopped is not None, "reach": reach}

    def operated(self, action: str, on: str | None, who: str, reason: str | None, status: int) -> None:
        """Somebody has changed something, or tried to: who, why, and what came of it."""
        fields = {"action": action, "on": on, "who": who, "reason": reason, "status": status}
        self.observer.happened(Event("operated", self.clock(), fields))

    def guessed(self, times: int) -> None:
        """Somebody shows one wrong admin token after another."""
        self.observer.happened(Event("admin_token_guessed", self.clock(), {"times": times}))

    def failed(self, error: Exception) -> None:
        """A bug in the admin plane: told to the log, as a place without a value."""
        self.observer.happened(Event("internal_error", self.clock(), {"where": place_of(error)}))

    def _none_such(self, now: Moment) -> str:
        on = ", ".join(str(switch.scope) for switch in self.counts.switches.active(now))
        return f"No kill switch of this scope is on; on are: {on}." if on else "No kill switch is on."


def _still_held(scope: str, holding: list[KillSwitch], *, lifted: bool) -> str:
    names = {
        Source.POLICY: "the kill_switch section of policy.yaml",
        Source.FILE: "kill_switch.yaml",
        Source.GOVERNED: "POST /v1/agents/ID/disable on the data plane (…/enable lifts it)",
    }
    where = " and ".join(names.get(switch.source, switch.source.value) for switch in holding)
    first = f"The switch set at run time is lifted, but {scope}" if lifted else scope
    return f"{first} is still stopped by {where}: remove it there."
