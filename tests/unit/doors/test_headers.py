import pytest

from gateway.denial import Reason
from gateway.doors.headers import (
    TO_TARGETS,
    WITH_AUTHORIZATION,
    end_to_end,
    forwarding,
    idempotency_key_of,
    made_up_key,
)
from gateway.doors.refusal import Refusal
from gateway.hop_by_hop import HOP_BY_HOP
from gateway.model import Moment


def names(headers: list[tuple[str, str]]) -> set[str]:
    return {name.lower() for name, _ in headers}


def test_hop_by_hop_headers_and_those_connection_names_stop_here() -> None:
    came = [
        ("X-Hop", "1"),
        ("Connection", "keep-alive, X-Hop"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Transfer-Encoding", "chunked"),
        ("Content-Length", "3"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "Basic eA=="),
        ("Host", "gateway"),
        ("Accept", "*/*"),
    ]
    assert end_to_end(came, ["keep-alive, X-Hop"]) == [("Accept", "*/*")]


def test_what_is_between_caller_and_target_passes_and_what_is_the_connections_does_not() -> None:
    kept = [
        ("Authorization", "Bearer x"),
        ("Cookie", "a=b"),
        ("Origin", "null"),
        ("Idempotency-Key", "k"),
        ("Via", "1.1 a"),
        ("Forwarded", "for=a"),
    ]
    dropped = [(name, "x") for name in (*HOP_BY_HOP, "Host", "Content-Length", "Expect", "Agent-Id", "X-Hop")]
    assert end_to_end([*kept, *dropped], ["x-hop"], TO_TARGETS) == kept


def test_identity_and_our_own_headers_never_reach_a_tool() -> None:
    came = [
        ("Agent-Token", "secret"),
        ("Agent-Id", "a"),
        ("agent-run-id", "r"),
        ("Tool-Gateway-Attempt", "9"),
        ("Authorization", "Bearer x"),
        ("Idempotency-Key", "k"),
        ("X-Kept", "1"),
    ]
    assert end_to_end(came, []) == [("X-Kept", "1")]


def test_a_tool_that_takes_the_callers_authorization_gets_it() -> None:
    assert end_to_end([("authorization", "Bearer x")], [], WITH_AUTHORIZATION) == [("authorization", "Bearer x")]


def test_via_and_forwarded_grow_behind_what_earlier_proxies_wrote() -> None:
    assert forwarding("::1", "gw:8080", ["1.1 edge"], ["for=192.0.2.1"]) == [
        ("Via", "1.1 edge, 1.1 tool-gateway"),
        ("Forwarded", 'for=192.0.2.1, for="[::1]";host="gw:8080";proto=http'),
    ]


def test_a_caller_on_a_unix_socket_has_no_address() -> None:
    assert forwarding(None, "gw", [], [])[1] == ("Forwarded", 'for=unknown;host="gw";proto=http')


@pytest.mark.parametrize("key", ["k", '"8e03978e-40d5-43dd-bc93-6894a57f9324"', "~" * 255])
def test_an_idempotency_key_is_taken_as_it_is(key: str) -> None:
    assert idempotency_key_of([key]) == key


@pytest.mark.parametrize("lines", [[""], ["two words"], ["é"], ["k\t"], ["k" * 256], ["k", "k"], ["k", "l"]])
def test_an_idempotency_key_that_could_be_read_differently_is_refused(lines: list[str]) -> None:
    with pytest.raises(Refusal) as refused:
        idempotency_key_of(lines)
    assert refused.value.denial.reason is Reason.INVALID_REQUEST


def test_no_two_calls_share_a_made_up_key() -> None:
    """Not even where a process after a restart draws the same prefix for its call ids."""
    keys = {made_up_key(call, Moment(0.0, wall)) for call in ("aa00000001", "aa00000002") for wall in (1.0, 1.001)}
    assert len(keys) == 4
    assert all(idempotency_key_of([key]) for key in keys)
