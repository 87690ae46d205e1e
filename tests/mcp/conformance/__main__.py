"""`make conformance`: the public MCP suite against our fixture server, directly and through the gateway, side by side.

The gateway may not make worse what the server does: a check that ends worse through it is a regression, and the exit status is 1.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from tests.deploy.stack import GatewayProcess
from tests.mcp.node_tools import node_command

HERE = Path(__file__).parent
POLICY = {
    "runtime": {"env": {"AGENT_MAX_TOOL_CALLS": 100_000, "AGENT_MAX_STEPS": 100_000, "AGENT_MAX_SECONDS": 3600}},
    "tools": {"allowlist": ["suite.*"]},
}
LONGEST = 300
"""Seconds for one leg."""


class Leg(NamedTuple):
    """One run of the suite."""

    package: str
    version: str


LEGS = [
    Leg("conformance-handshake", "2025-06-18"),
    Leg("conformance-handshake", "2025-11-25"),
    Leg("conformance-stateless", "2025-11-25"),
    Leg("conformance-stateless", "2026-07-28"),
]


class Ending(IntEnum):
    """How a check ended, from good to bad."""

    SUCCESS = 0
    INFO = 1
    SKIPPED = 2
    WARNING = 3
    FAILURE = 4
    MISSING = 5


Checks = Mapping[tuple[str, str], Ending]
"""(scenario, check) → its worst ending."""


def run(leg: Leg, url: str, results: Path) -> Checks:
    """The suite's whole word on the server at `url`. It exits 1 where something failed: that is for us to judge."""
    suite = HERE / "node_modules" / leg.package / "dist/index.js"
    command = [node_command(), str(suite), "server", "--url", url, "--suite", "all", "--spec-version", leg.version]
    done = subprocess.run(
        [*command, "-o", str(results)], cwd=HERE, capture_output=True, text=True, timeout=LONGEST, check=False
    )
    checks = read(results)
    if not checks:
        raise SystemExit(f"the suite did not run: {done.stderr or done.stdout}")
    return checks


def read(results: Path) -> Checks:
    """One folder a scenario, called server-{scenario}-{time}."""
    worst: dict[tuple[str, str], Ending] = defaultdict(lambda: Ending.SUCCESS)
    for file in results.glob("server-*/checks.json"):
        scenario = re.sub(r"^server-|-\d{4}-\d\d-\d\dT.*$", "", file.parent.name)
        for check in json.loads(file.read_text()):
            key = scenario, check["id"]
            worst[key] = max(worst[key], Ending[check["status"]])
    return worst


def worsened(direct: Checks, through: Checks) -> Iterator[str]:
    """A line for each check that the gateway has made worse."""
    for (scenario, check), before in sorted(direct.items()):
        after = through.get((scenario, check), Ending.MISSING)
        if after > before:
            yield f"{scenario} / {check}: {before.name} directly, {after.name} through the gateway"


@contextmanager
def server() -> Iterator[str]:
    """The fixture server's URL."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.mcp.conformance.server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"] + "/mcp"
        finally:
            process.kill()


def main() -> int:
    """Prints a table. 1: the gateway has made something worse."""
    regressions: list[str] = []
    with tempfile.TemporaryDirectory() as folder, server() as url:
        policy = json.dumps({**POLICY, "mcp_servers": {"suite": {"url": url}}})
        with GatewayProcess(Path(folder) / "gateway", policy=policy) as gateway:
            door = f"http://{gateway.data}/mcp/suite"
            print(
                f"{'suite':<24}{'version':<12}{'checks':>7}{'passed directly':>18}{'through the gateway':>22}{'worse':>7}"
            )
            for number, leg in enumerate(LEGS):
                direct = run(leg, url, Path(folder) / f"{number}-direct")
                through = run(leg, door, Path(folder) / f"{number}-through")
                worse = list(worsened(direct, through))
                passed = [sum(ending is Ending.SUCCESS for ending in of.values()) for of in (direct, through)]
                print(
                    f"{leg.package:<24}{leg.version:<12}{len(direct):>7}{passed[0]:>18}{passed[1]:>22}{len(worse):>7}"
                )
                regressions += [f"{leg.version} {line}" for line in worse]
    print(*regressions, sep="\n", end="\n" if regressions else "")
    return 1 if regressions else 0


if __name__ == "__main__":
    sys.exit(main())
