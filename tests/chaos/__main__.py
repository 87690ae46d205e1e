"""`make chaos`: a gateway under load while its upstream, its policy, its operator, its disk and its own process misbehave.

Every difference between what the gateway counted and what the upstream saw is a fault. The seed is printed: a run can be repeated.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.books import Books
from tests.chaos.policy import AGENTS
from tests.chaos.trial import Account, trial


def report(account: Account) -> None:
    """What a run comes to."""
    oracle, books = account.oracle, Books(account.oracle)
    performed = sum(map(len, oracle.performed().values()))
    charged = sum(1 for line in oracle.lines.values() if line.charged)
    print("what happened:", ", ".join(f"{what} x {times}" for what, times in account.happened.most_common()))
    print(f"offered {len(oracle.offered)}, charged {charged}, performed {performed}, attempts seen {len(oracle.seen)}")
    print(f"calls that kill -9 left out of the log: {len(books.unknown)}")
    print("answers:", ", ".join(f"{reason} {number}" for reason, number in oracle.answers.most_common()))
    for line in account.differences[:20]:
        print("DIFFERS:", line)
    print(f"difference to the oracle: {len(account.differences)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rate", type=float, default=60.0, help="calls a second")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.seconds:g} s at {given.rate:g} calls a second, agents {', '.join(AGENTS)}")
    with tempfile.TemporaryDirectory() as folder:
        end = asyncio.run(trial(Path(folder) / "installation", given.seconds, given.seed, given.rate))
    report(end)
    sys.exit(1 if end.differences else 0)
