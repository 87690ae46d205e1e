"""From the way an attempt failed to the Denial that explains it: the rows of SPEC 4 below the line "after dispatch". Pure."""

from pathlib import PurePath

from gateway.denial import ANSWERS, Denial, Reason
from gateway.model import Effect, UpstreamError
from gateway.pipeline.limits import Timer
from gateway.policy.snapshot import Plan

NOT_ALLOWED = frozenset({"egress_not_allowed", "sni_mismatch", "host_mismatch", "unknown_protocol"})
"""Kinds of UpstreamError that say: policy does not let this leave. The last three tell what was wrong inside of a tunnel."""
ELSEWHERE = "Use another source; repeating the call will not help."
LOOK_FIRST = "It may have run: check its effect before you repeat it."
RETRY_LATER = 1.0
"""Seconds: what an overloaded answer suggests; in-flight calls last about that long."""


class Cut(Exception):
    """The reply broke off after its first byte had gone to the agent: the door cuts the connection so that it cannot look whole."""

    def __init__(self, denial: Denial, *, by_upstream: bool = False) -> None:
        super().__init__(denial.reason)
        self.denial = denial
        self.by_upstream = by_upstream
        """The upstream broke it off; else a timer, a limit or a stop did."""


def as_value(error: UpstreamError) -> UpstreamError:
    """Without the way it came: the frames on it hold the error that is kept, and all of the call, until the garbage collector comes."""
    error.__traceback__ = error.__context__ = None
    return error


class TimedOut(UpstreamError):
    """The attempt's, the call's or the run's time was up."""

    def __init__(self, timer: Timer, detail: str, *, sent: bool) -> None:
        super().__init__("timeout", detail, sent=sent)
        self.timer = timer
        self.upstreams_own = timer is Timer.ATTEMPT
        """The upstream alone was slow: not the caller with its body, nor was the time short when the attempt began."""


def timed_out(timer: Timer, plan: Plan, *, sent: bool, silence: float | None = None) -> TimedOut:
    """`silence`: the head had come, and the attempt's timer counted this many seconds without a piece of the body."""
    if timer is Timer.ATTEMPT:
        what = "did not answer within its timeout of" if silence is None else "went silent for"
        return TimedOut(timer, f"{plan.tool} {what} {milliseconds(silence or plan.timeout)}", sent=sent)
    if timer is Timer.DEADLINE:
        return TimedOut(timer, f"{plan.tool} was not done at its deadline of {milliseconds(plan.deadline)}", sent=sent)
    seconds = f"{plan.budgets.max_seconds:g} s (AGENT_MAX_SECONDS)"
    return TimedOut(timer, f"the run's time of {seconds} ended while {plan.tool} was at work", sent=sent)


def explain(error: UpstreamError, plan: Plan) -> Denial:
    """What the caller is told when no attempt is left. A write that was sent is never called failed: nobody knows."""
    run_over = isinstance(error, TimedOut) and error.timer is Timer.RUN
    stop_reason = Reason.MAX_SECONDS.value if run_over else None
    if error.kind == "egress_not_allowed":
        return Denial(Reason.EGRESS_NOT_ALLOWED, f"{sentence(error.detail)} {ELSEWHERE}")
    if error.kind in NOT_ALLOWED:  # inside of a tunnel: each of those says itself what to do
        return Denial(Reason.EGRESS_NOT_ALLOWED, sentence(error.detail))
    if error.kind == "response_too_large":
        return Denial(Reason.RESPONSE_TOO_LARGE, f"{sentence(error.detail)} The tool has run; ask it for less.")
    if error.sent and not plan.repeatable:
        return Denial(Reason.OUTCOME_UNKNOWN, f"{sentence(error.detail)} {LOOK_FIRST}", stop_reason)
    if error.kind == "request_too_large":
        return Denial(Reason.REQUEST_TOO_LARGE, sentence(error.detail))
    if error.kind in ("request_timeout", "request_cut"):
        status = 408 if error.kind == "request_timeout" else None
        return Denial(Reason.INVALID_REQUEST, sentence(error.detail), status_override=status, closes_connection=True)
    if error.kind == "overloaded":
        return Denial(Reason.OVERLOADED, sentence(error.detail), retry_after=RETRY_LATER)
    if isinstance(error, TimedOut):
        advice = "Finish the task with what you have." if run_over else "Try again later or go on without it."
        return Denial(Reason.TOOL_TIMEOUT, f"{sentence(error.detail)} {advice}", stop_reason)
    return Denial(Reason.UPSTREAM_FAILED, f"{sentence(error.detail)} Try again later or go on without it.")


def no_memory() -> Denial:
    """The sum of what all calls hold leaves no room."""
    detail = "The gateway holds as many bytes of requests and replies as it may (GATEWAY_MAX_BUFFERED_BYTES). Try again later."
    return Denial(Reason.OVERLOADED, detail, retry_after=RETRY_LATER)


def not_durable() -> Denial:
    """The charge could not be written down: to perform the call all the same would give its budget away at the next crash."""
    detail = (
        "The gateway cannot write down what this call uses, so it does not perform it (state.on_unavailable: deny)."
        " Try again later; an operator has to look at the gateway's state."
    )
    return Denial(Reason.STATE_UNAVAILABLE, detail, retry_after=RETRY_LATER)


def unheard() -> Denial:
    """Stops and API policies protect: a gateway that cannot have heard of them serves nothing that they might refuse."""
    detail = (
        "The gateway has started without its shared state and does not know yet what is stopped or limited for all gateways, so it serves"
        " nothing (state.on_unavailable: deny). Try again later; an operator has to look at the gateway's state."
    )
    return Denial(Reason.STATE_UNAVAILABLE, detail, retry_after=RETRY_LATER)


def unknown_run() -> Denial:
    """To say that there is none would be to guess: other gateways may have had calls of it."""
    detail = (
        "This gateway knows no such run, and cannot ask the others just now. Try again later; an operator has to look at the gateway's"
        " state."
    )
    return Denial(Reason.STATE_UNAVAILABLE, detail, retry_after=RETRY_LATER)


def key_reused(plan: Plan) -> Denial:
    """To take it for a repeat would answer a call that was never made."""
    return Denial(
        Reason.INVALID_REQUEST,
        f"This Idempotency-Key was used for a call of {plan.tool} with other arguments. Use a new key for a new call, and the same one"
        " only to repeat a call unchanged.",
    )


def not_claimed() -> Denial:
    """To perform the call without asking would make it twice where another gateway has made it."""
    detail = (
        "The gateway cannot learn whether another one has made this call already (same Idempotency-Key), so it does not make it"
        " (state.on_unavailable: deny). Try again later; an operator has to look at the gateway's state."
    )
    return Denial(Reason.STATE_UNAVAILABLE, detail, retry_after=RETRY_LATER)


def not_shared(plan: Plan) -> Denial:
    """The first call gets its answer as it arrives; it is held for nobody else."""
    advice = (
        "or ask for less under a new key" if plan.effect is Effect.READ else "and do not make the call again to see it"
    )
    return Denial(
        Reason.RESPONSE_TOO_LARGE,
        f"{plan.tool} has run for the first call with this Idempotency-Key, and its answer, a stream or more than 256 KiB, went to"
        f" that call alone. Use that answer, {advice}.",
    )


RUN = "its run"
CALLERS = "the last caller that waited for it"


def ended_with(what: str, plan: Plan, *, sent: bool) -> Denial:
    """For a call that had joined one which ended for a reason of that one's own."""
    joined = f"The call of {plan.tool} that this one had joined (same Idempotency-Key) was ended with {what}"
    if sent and not plan.repeatable:
        return Denial(Reason.OUTCOME_UNKNOWN, f"{joined}, after it was sent. {LOOK_FIRST}")
    return Denial(Reason.TOOL_TIMEOUT, f"{joined}, before there was an answer. Repeat it.")


def not_heard(plan: Plan, *, gone: bool) -> Denial:
    """For a call that waited for one at another gateway of the fleet: that gateway is gone, or the state that they share."""
    what = f"The gateway that made this call of {plan.tool} (same Idempotency-Key)"
    if gone and plan.repeatable:
        return Denial(Reason.UPSTREAM_FAILED, f"{what} is gone, and no answer came. Repeat it.")
    if gone:
        advice = "Check its effect; if it has to be made again, use a new key."
        return Denial(Reason.OUTCOME_UNKNOWN, f"{what} is gone, and nobody knows whether it ran. {advice}")
    if plan.allow_without_state and not plan.repeatable:
        return Denial(Reason.OUTCOME_UNKNOWN, f"{what} cannot be asked for its answer. {LOOK_FIRST}")
    detail = f"{what} cannot be asked for its answer just now. Repeat it later, with the same key."
    return Denial(Reason.STATE_UNAVAILABLE, detail, retry_after=RETRY_LATER)


def response_too_large(plan: Plan) -> UpstreamError:
    """The reply outgrew what the policy lets through."""
    detail = f"the answer of {plan.tool} is larger than {plan.max_response_bytes} bytes (max_response_bytes)"
    return UpstreamError("response_too_large", detail, sent=True)


def internal_error(call_id: str) -> Denial:
    """A fault of the gateway itself. It names nothing but the call: the log has the place."""
    return Denial(Reason.INTERNAL_ERROR, f"The gateway itself failed. Report call {call_id} to those who run it.")


def place_of(error: BaseException) -> str:
    """Type and place of an unforeseen exception, for the log: never its text, which may hold values of the call."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" at {PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return type(error).__name__ + where


def stopped_after_dispatch(denial: Denial, plan: Plan) -> Denial:
    """A kill (or the shutdown) cut a call that was sent: the reason stays, the detail adds what that means.

    A shutdown's 503 would have clients repeat a write that may have run, so there the status is outcome_unknown's.
    """
    if plan.repeatable:
        return denial
    detail = f"{sentence(denial.detail)} The call was sent before that. {LOOK_FIRST}"
    status = ANSWERS[Reason.OUTCOME_UNKNOWN].status if denial.status >= 500 else None
    return Denial(denial.reason, detail, denial.stop_reason, status_override=status)


def sentence(text: str) -> str:
    """A detail as a sentence: with a full stop, and a capital where "the" begins it (other first words may be names of tools)."""
    first = text[:1].upper() + text[1:] if text[:4] in ("the ", "The ") else text
    return first if first.endswith((".", "!", "?")) else first + "."


def milliseconds(seconds: float) -> str:
    """A time in words, in the unit of policy files."""
    return f"{seconds * 1000:.0f} ms"
