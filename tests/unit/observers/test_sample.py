from hypothesis import given
from hypothesis import strategies as st

from gateway.denial import Reason
from gateway.model import Decision, Moment
from gateway.observers.sample import MOST_KEYS, Sampler
from gateway.policy.snapshot import Observability
from tests.unit.observers.observer_records import record

KEY = b"a fixed key"


def at_rate(rate: float) -> Observability:
    return Observability(result_sample_rate=rate)


@given(st.text(min_size=1, max_size=40), st.floats(0, 1))
def test_a_run_is_sampled_whole_or_not_at_all(run: str, rate: float) -> None:
    sampler = Sampler(KEY)
    answers = {sampler.wants(record(run_id=run, call_id=f"c-{n}", tool=f"t{n}"), at_rate(rate)) for n in range(20)}
    assert len(answers) == 1


def test_the_share_of_sampled_runs_is_the_rate() -> None:
    sampler = Sampler(KEY)
    sampled = sum(sampler.wants(record(run_id=f"run-{n}"), at_rate(0.1)) for n in range(20_000))
    assert 1_850 < sampled < 2_150


def test_calls_without_a_run_are_sampled_one_by_one() -> None:
    sampler = Sampler(KEY)
    sampled = sum(sampler.wants(record(run_id=None, call_id=f"c-{n}"), at_rate(0.5)) for n in range(2_000))
    assert 900 < sampled < 1_100


def test_another_key_samples_other_runs() -> None:
    runs = [f"run-{n}" for n in range(1000)]
    first, second = ([run for run in runs if Sampler(key).chosen(run, 0.1)] for key in (b"a", b"b"))
    assert set(first) != set(second)


def test_none_at_rate_zero_and_all_at_rate_one() -> None:
    sampler = Sampler(KEY)
    assert not any(sampler.wants(record(run_id=f"r{n}"), at_rate(0)) for n in range(100))
    assert all(sampler.wants(record(run_id=f"r{n}"), at_rate(1)) for n in range(100))


def test_the_first_ten_failures_a_minute_of_each_tool_and_reason() -> None:
    sampler = Sampler(KEY)
    refused = {"decision": Decision.DENY, "reason": Reason.MAX_TOOL_CALLS}

    def sampled(minute: float, **changes: object) -> int:
        at = Moment(minute * 60, 0.0)
        return sum(sampler.wants(record(at=at, **changes), at_rate(0)) for _ in range(30))

    assert sampled(1.1, **refused) == 10
    assert sampled(1.2, **refused) == 0
    assert sampled(1.2, **refused, tool="other.tool") == 10
    assert sampled(1.2, reason=Reason.TOOL_ERROR, status=404) == 10
    assert sampled(2.0, **refused) == 10


def test_invented_tool_names_cannot_fill_the_memory() -> None:
    sampler = Sampler(KEY)
    records = (record(tool=f"t{n}", reason=Reason.TOOL_NOT_ALLOWED, decision=Decision.DENY) for n in range(5000))
    assert sum(sampler.wants(r, at_rate(0)) for r in records) == MOST_KEYS + 10
    assert len(sampler._failures) == MOST_KEYS + 1


def test_payloads_can_be_turned_off_altogether() -> None:
    off = Observability(sampled_tool_results=False, result_sample_rate=1.0)
    assert not Sampler(KEY).wants(record(reason=Reason.TOOL_ERROR), off)
    assert not Sampler(KEY).wants(record(), off)
