from gateway.observers.recent import Recent
from tests.unit.observers.observer_records import record


def test_the_newest_come_first_and_the_oldest_are_forgotten() -> None:
    recent = Recent(kept=3)
    for n in range(5):
        recent.call_ended(record(call_id=f"c-{n}", agent_id="a" if n % 2 else "b"))
    assert [call["call_id"] for call in recent.calls()] == ["c-4", "c-3", "c-2"]
    assert [call["call_id"] for call in recent.calls(1)] == ["c-4"]
    assert [call["call_id"] for call in recent.calls(wanted=lambda meta: "a" in meta)] == ["c-3"]
    assert recent.call("c-0") is None


def test_a_call_is_told_without_its_payloads_and_without_secrets() -> None:
    recent = Recent()
    recent.call_ended(record(args=b"raw args", result=b"raw result", target="?raw", detail="it said password=hunter2"))
    call = recent.call("c-1")
    assert call is not None
    assert call["detail"] == "it said password=[redacted]"
    assert not {"args", "result", "target"} & call.keys()
    assert "raw" not in str(call)
