"""What has happened: runs with their budgets, calls with their attempts."""

from typing import Literal, NotRequired, TypedDict

from gateway.denial import Reason
from gateway.model import Decision, Door, Effect


class RunUsed(TypedDict):
    """By a run so far; `steps` null: none was seen."""

    tool_calls: int
    steps: int | None
    seconds: float
    usd: float


class RunLimits(TypedDict):
    """Of a run; `usd` where the policy bounds it."""

    tool_calls: int
    steps: int
    seconds: float
    usd: NotRequired[float]


class RunRemaining(TypedDict):
    """`seconds` null: an anonymous window, which bounds counts alone."""

    tool_calls: int
    steps: int
    seconds: int | None
    usd: NotRequired[float]


class Run(TypedDict):
    """One run or, `run_id` null, an agent's anonymous window."""

    agent_id: str
    run_id: str | None
    started: str
    live: bool
    stop_reason: str | None
    used: RunUsed
    limits: RunLimits
    remaining: RunRemaining


class Runs(TypedDict):
    """The latest started first; `live`: how many have not ended."""

    runs: list[Run]
    live: int


class StoppedRun(Run):
    """`stopped_now` false: it had ended before. `reach`: where its calls are refused from now on."""

    stopped_now: bool
    reach: str


class Call(TypedDict):
    """A call as the log tells it (docs/log.md), without payloads."""

    ts: str
    event: Literal["tool_call"]
    call_id: str
    run_id: str | None
    agent_id: str
    trace_id: str | None
    door: Door
    tool: str
    effect: Effect | None
    args_hash: str
    decision: Decision
    reason: Reason
    stop_reason: str | None
    status: int | None
    attempts: int
    errors: list[str]
    duration_ms: float
    waited_ms: float
    bytes_in: int
    bytes_out: int
    cost_usd: float
    policy: str
    candidate: str | None
    report_reason: NotRequired[Reason]
    upstream: str | None
    detail: str | None


class Try(TypedDict):
    """One attempt: when it began, what was waited before, how long it took, and what came of it."""

    attempt: int
    waited_ms: float
    began_ms: float
    took_ms: float
    result: str


class LeftToRun(TypedDict):
    """Of a run's budgets, when a call was answered."""

    tool_calls: int
    steps: int
    seconds: int | None


class CallStory(Call):
    """With what decided it, and each attempt."""

    decided_by: str
    rule: str | None
    tries: list[Try]
    remaining: LeftToRun | None


class Calls(TypedDict):
    """The latest ended first."""

    calls: list[Call]
