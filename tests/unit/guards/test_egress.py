import pytest

from gateway.denial import Denial, Reason
from gateway.guards.egress import guard
from gateway.model import Target
from gateway.policy.snapshot import Egress
from gateway.state.counts import Counts
from tests.unit.made_up import NOON, a_call, a_plan

EGRESS = Egress(
    frozenset({"api.example.com"}),
    frozenset({"wikipedia.org"}),
    any_host=False,
    ports=frozenset({443}),
    allow_private=(),
)


def asked(target: Target | None) -> Denial | None:
    return guard(a_call(destination=target), a_plan(egress=EGRESS), Counts(max_in_flight=1), NOON)


@pytest.mark.parametrize("host", ["api.example.com", "de.wikipedia.org"])
def test_a_listed_host_and_port_pass(host: str) -> None:
    assert asked(Target("https", host, 443, "/")) is None


def test_a_call_that_goes_to_an_upstream_is_not_asked() -> None:
    assert asked(None) is None


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        (Target("https", "example.com", 443, "/secret"), "egress.allow_hosts"),
        (Target("https", "wikipedia.org", 443, "/secret"), "egress.allow_hosts"),
        (Target("http", "api.example.com", 80, "/secret"), "egress.ports"),
    ],
)
def test_any_other_is_refused_by_the_rule_that_says_so(target: Target, rule: str) -> None:
    denial = asked(target)
    assert denial is not None
    assert denial.reason is Reason.EGRESS_NOT_ALLOWED
    assert denial.status == 403
    assert not denial.retryable
    for word in (target.host, str(target.port), rule):
        assert word in denial.detail
    assert "secret" not in denial.detail
