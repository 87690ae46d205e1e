"""Who calls through the proxy, by Proxy-Authorization alone. (Identity over sockets: tests/doors/test_egress.py, test_identity.py.)"""

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from gateway.denial import Reason
from gateway.doors.identity import caller_of, carries_token, proxy_caller_of
from gateway.doors.refusal import Refusal
from gateway.policy.plans.given import Given
from gateway.policy.secrets import Reference
from tests.unit.policy.policy_texts import compiled

TOKEN = "billing:token"
POLICY = compiled(
    "agents: {billing: {token: '${env:BILLING}', allowlist: []}}", Given(secrets={Reference("env", "BILLING"): TOKEN})
)


def basic(credentials: bytes) -> str:
    return f"Basic {b64encode(credentials).decode()}"


@pytest.mark.parametrize(
    ("credentials", "caller"),
    [
        (b"r1:billing:token", ("billing", "r1")),
        (b":billing:token", ("billing", None)),
        (b"r1:", ("default", "r1")),
        (b":", ("default", None)),
    ],
)
def test_user_and_password_are_run_and_token(credentials: bytes, caller: tuple[str, str | None]) -> None:
    assert proxy_caller_of([basic(credentials)], POLICY, None) == caller


def test_without_credentials_it_is_the_default_agent() -> None:
    assert proxy_caller_of([], POLICY, None) == ("default", None)


@pytest.mark.parametrize("password", [b"", b"billing:token", b"nobody's"])
def test_the_agent_of_a_sidecar_is_fixed_and_no_token_is_looked_up(password: bytes) -> None:
    assert proxy_caller_of([basic(b"r1:" + password)], POLICY, "sidecar") == ("sidecar", "r1")


@given(st.lists(st.text(max_size=40) | st.binary(max_size=30).map(basic), max_size=2))
def test_whatever_is_sent_it_is_understood_or_asked_for_again(lines: list[str]) -> None:
    try:
        agent, _ = proxy_caller_of(lines, POLICY, None)
    except Refusal as refusal:
        denial = refusal.denial
        assert (denial.reason, denial.status) == (Reason.UNAUTHENTICATED, 407)
    else:
        assert agent == "default"
        assert len(lines) <= 1


@pytest.mark.parametrize(
    ("authorization", "own"),
    [
        (None, False),
        ("Bearer billing:token", True),
        ("bearer  billing:token", True),
        ("Bearer theirs", False),
        ("Basic billing:token", False),
        (basic(b"anybody:billing:token"), True),
        (basic(b"billing:token:"), False),
        (basic(b"theirs:"), False),
        ("Bearer", False),
    ],
)
def test_an_agents_token_is_known_wherever_it_is_carried(authorization: str | None, own: bool) -> None:
    headers = CIMultiDict({} if authorization is None else {"Authorization": authorization})
    assert carries_token(headers, POLICY) is own


@pytest.mark.parametrize("first", ["Bearer theirs", "Bearer billing:token"])
def test_what_is_judged_is_all_that_is_forwarded(first: str) -> None:
    headers = CIMultiDict([("Authorization", first), ("authorization", "Bearer billing:token")])
    for judge in (carries_token, lambda given, policy: caller_of(given, policy, None)):
        with pytest.raises(Refusal, match="invalid_request"):
            judge(headers, POLICY)
