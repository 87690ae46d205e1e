"""An oracle that finds nothing must be one that would."""

import random

from tests.chaos.oracle import Offered, Oracle, Seen

READ, WRITE = "search.read", "notes.write"


def after(
    offered: list[tuple[float, str]], seen: list[tuple[float, int, int]], restarts: tuple[float, ...] = ()
) -> Oracle:
    """Calls by time and tool, requests at the upstream by time, number of their call, and answer."""
    oracle = Oracle(restarts=list(restarts))
    oracle.offered = {f"c{n}": Offered(at, "scout", "scout-1", tool) for n, (at, tool) in enumerate(offered)}
    oracle.seen = [Seen(at, f"c{n}", answer) for at, n, answer in seen]
    return oracle


def test_a_write_that_may_have_run_twice_is_found() -> None:
    oracle = after([(0, WRITE), (1, WRITE)], [(0, 0, 0), (0.5, 0, 200), (1, 1, 429), (1.5, 1, 200)])
    assert oracle.repeated_writes([WRITE]) == ["c0"]
    assert oracle.repeated_writes([READ]) == []


def test_a_call_is_performed_once_however_many_attempts_it_took() -> None:
    oracle = after([(0, READ), (1, READ), (2, READ)], [(0, 0, 503), (0.5, 0, 503), (1, 1, 200)])
    assert oracle.performed() == {"scout-1": {"c0", "c1"}}
    assert oracle.performed("billing") == {}


def test_one_attempt_more_than_the_bound_is_a_storm() -> None:
    offered = [(n * 0.1, READ) for n in range(10)]
    bound = [(n * 0.1, n % 10, 503) for n in range(15)]
    assert after(offered, bound).storms([READ]) == []
    assert after(offered, [*bound, (1.6, 0, 503)]).storms([READ]) == ["16 attempts in 10 s where 10 calls were offered"]
    assert after(offered, [*bound, (1.6, 0, 503)], restarts=(1.0,)).storms([READ]) == []


def test_windows_slide() -> None:
    dice = random.Random(7)
    offered = sorted((dice.uniform(0, 100), READ) for _ in range(500))
    once = [(at + 0.01, n, 200) for n, (at, _) in enumerate(offered)]
    assert after(offered, once).storms([READ]) == []
    assert after(offered, once + [(50 + n / 100, n, 503) for n in range(30)]).storms([READ])
