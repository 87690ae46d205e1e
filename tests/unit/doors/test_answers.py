"""Every Reason has a row, and each denial keeps to the rule behind the statuses (SPEC 4). golden_problems.json shows what goes out."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.denial import ANSWERS, Denial, Reason
from gateway.doors.answers import problem, remaining_header
from gateway.doors.arrival import Arrival
from gateway.model import Remaining
from tests.unit.made_up import NOON

GOLDEN = Path(__file__).with_name("golden_problems.json")
NO_DENIALS = {Reason.OK, Reason.DEDUP, Reason.TOOL_ERROR, Reason.CLIENT_GONE}
STATUSES = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "tool_not_allowed tool_not_configured arguments_not_allowed egress_not_allowed run_id_required run_finished agent_disabled "
    "kill_switch max_steps max_tool_calls max_seconds max_usd max_calls loop_detected",
    413: "request_too_large",
    424: "outcome_unknown response_too_large",
    429: "max_actions_per_hour max_spend_usd_per_day max_calls_per_tool too_many_runs rate_limited",
    500: "internal_error",
    502: "upstream_failed",
    503: "overloaded circuit_open draining state_unavailable",
    504: "tool_timeout",
}
"""The table of SPEC 4."""
DENIALS = sorted(set(Reason) - NO_DENIALS)
CASES: dict[str, Denial] = {
    **{reason.value: Denial(reason, "A sentence.", retry_after=2.0 if status in (429, 503) else None)
       for reason, (status, _) in ANSWERS.items()},
    "a method that is not taken": Denial(Reason.INVALID_REQUEST, "A sentence.", status_override=405, closes_connection=True),
    "a spent run": Denial(Reason.MAX_TOOL_CALLS, "A sentence.", "max_tool_calls"),
    "a spent window": Denial(Reason.MAX_TOOL_CALLS, "A sentence.", retry_after=0.2),
    "a spent window that is long": Denial(Reason.MAX_TOOL_CALLS, "A sentence.", retry_after=60.001),
    "a spent hour": Denial(Reason.MAX_ACTIONS_PER_HOUR, "A sentence.", retry_after=3000.0),
    "a rate with a minute to go": Denial(Reason.RATE_LIMITED, "A sentence.", retry_after=60.0),
    "a rate that no wait helps": Denial(Reason.RATE_LIMITED, "A sentence."),
    "the end of the run": Denial(Reason.TOOL_TIMEOUT, "A sentence.", "max_seconds"),
    "a write cut by the end of the run": Denial(Reason.OUTCOME_UNKNOWN, "A sentence.", "max_seconds"),
    "a kill of all": Denial(Reason.KILL_SWITCH, "A sentence.", "kill_switch"),
    "HTTP of another version": Denial(Reason.INVALID_REQUEST, "A sentence.", status_override=505, closes_connection=True),
}  # fmt: skip


def answered(denial: Denial) -> tuple[dict[str, str], dict[str, Any]]:
    """Headers and document."""
    request = make_mocked_request("DELETE", "/tools/search.read")
    arrival = Arrival(request, None, "c1", NOON)  # type: ignore[arg-type]  # no snapshot is asked
    arrival.tool, arrival.run, arrival.methods = "search.read", "r1", frozenset(["POST", "GET"])
    response = problem(arrival, denial, {}, "0123456789ab")
    assert isinstance(response.body, bytes)
    assert (response.keep_alive is False) == denial.closes_connection
    return dict(response.headers), json.loads(response.body)


def test_every_reason_is_a_denial_with_a_row_or_none() -> None:
    assert set(ANSWERS) == set(DENIALS)
    assert not set(ANSWERS) & NO_DENIALS


@pytest.mark.parametrize("reason", DENIALS)
def test_the_status_is_the_tables(reason: Reason) -> None:
    [status] = [status for status, reasons in STATUSES.items() if reason in reasons.split()]
    assert ANSWERS[reason].status == status
    assert Denial(reason, "", retry_after=1.0 if status in (429, 503) else None).status == status


@pytest.mark.parametrize("case", CASES)
def test_only_where_waiting_helps_is_a_client_led_to_repeat(case: str) -> None:
    headers, document = answered(CASES[case])
    status, waits = document["status"], "Retry-After" in headers
    if waits:
        assert status in (429, 503)
        assert 1 <= int(headers["Retry-After"]) <= 60
        assert int(headers["Retry-After"]) * 1000 >= document["retry_after_ms"]
    if status in (429, 503):
        assert waits
        assert document["retryable"] is True
    if document["stop_reason"] is not None or not document["retryable"]:
        assert headers["x-should-retry"] == "false"
    else:
        assert "x-should-retry" not in headers
    if document["retryable"]:
        assert document["reason"] in ("upstream_failed", "tool_timeout") or status in (429, 503)


@pytest.mark.parametrize("case", CASES)
def test_a_problem_is_what_the_golden_file_shows(case: str) -> None:
    headers, document = answered(CASES[case])
    assert json.loads(GOLDEN.read_text())[case] == {"headers": headers, "document": document}


def test_the_golden_file_shows_nothing_else() -> None:
    assert [*json.loads(GOLDEN.read_text())] == [*CASES]


def test_names_that_are_not_known_are_null() -> None:
    arrival = Arrival(make_mocked_request("GET", "/"), None, "c1", NOON)  # type: ignore[arg-type]  # no snapshot is asked
    body = problem(arrival, Denial(Reason.INVALID_REQUEST, "A sentence."), {}, "0123456789ab").body
    assert isinstance(body, bytes)
    document = json.loads(body)
    assert (document["tool"], document["run_id"]) == (None, None)


def test_what_remains_has_no_seconds_in_a_window() -> None:
    assert remaining_header(Remaining(3, 20, 41)) == b"tool_calls=3, steps=20, seconds=41"
    assert remaining_header(Remaining(3, 20, None)) == b"tool_calls=3, steps=20"
