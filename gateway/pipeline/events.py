"""What the pipeline tells beside its records."""

from gateway.model import Event, Moment, RunKey
from gateway.pipeline.failures import place_of
from gateway.state.run import Run


def run_started(key: RunKey, now: Moment) -> Event:
    """The event of a run that began with its first call or step."""
    return Event("run_started", now, {"run_id": key.id, "agent_id": key.agent})


def run_finished(run: Run, now: Moment) -> Event:
    """The event of a run that ended, with its totals."""
    return Event(
        "run_finished",
        now,
        {
            "run_id": run.key.id,
            "agent_id": run.key.agent,
            "stop_reason": run.stop_reason,
            "tool_calls": run.tool_calls,
            "steps": run.steps,
            "seconds": round(run.elapsed(now), 3),
            "cost_usd": run.spend / 1_000_000,
        },
    )


def internal_error(call_id: str, error: BaseException | None, now: Moment) -> Event:
    """A fault of ours, as a place without a value."""
    return Event("internal_error", now, {"call_id": call_id, "where": place_of(error) if error else None})
