"""python -m tests.console.pictures: docs/console-light.png and docs/console-dark.png, of a gateway with five made-up minutes behind it."""

import asyncio
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gateway.clock import clock
from gateway.denial import Reason
from gateway.model import Decision, Effect, Moment, Record
from tests.admin.admin_plane import TOKEN
from tests.console.browser import Page, browser
from tests.console.plant import Plant, plant
from tests.console.png import shrink
from tests.unit.observers.observer_records import record

DOCS = Path(__file__).parents[2] / "docs"
SIZE = 1280, 800
LARGEST = 150_000
"""Bytes a picture."""
AGENTS = {"support-agent": "ticket", "research-agent": "report", "billing-agent": "invoice"}


def past(dice: random.Random) -> Iterator[Record]:
    """What ended in the five minutes before now."""
    now = clock()
    for number in range(900):
        ago = 300 * (1 - number / 900)
        tool = dice.choices(("search.read", "notes.write", "flaky", "echo"), (10, 4, 1 if ago > 90 else 3, 2))[0]
        agent = "billing-agent" if tool == "flaky" else dice.choice(("support-agent", "research-agent"))
        refused = dice.random() < (0.6 if tool == "flaky" and ago < 90 else 0.02)
        yield record(
            at=Moment(now.mono - ago, now.wall - ago),
            call_id=f"made-up-{number}",
            tool=tool,
            effect=Effect.WRITE if tool == "notes.write" else Effect.READ,
            agent_id=agent,
            run_id=f"{AGENTS[agent]}-{number // 90}",
            duration_ms=0.3 if refused else dice.lognormvariate(2.4 if tool == "search.read" else 1.6, 0.5),
            attempts=0 if refused else 1,
            cost_micro_usd=0,
            status=429 if refused else 200,
            decision=Decision.DENY if refused else Decision.ALLOW,
            reason=(Reason.LOOP_DETECTED if tool == "flaky" else Reason.RATE_LIMITED) if refused else Reason.OK,
        )


async def work(works: Plant, dice: random.Random) -> None:
    """What agents do now."""
    for number in range(46):
        agent = dice.choice(("support-agent", "research-agent"))
        tool = "notes.write" if agent == "support-agent" and number % 3 == 0 else "search.read"
        await works.call(tool, agent, f"{AGENTS[agent]}-{dice.choice((11, 12))}")
        if number % 3 == 0:
            await works.call("flaky", "billing-agent", "invoice-71", {"the same": "again"})


async def taken(page: Page, name: str) -> None:
    path = DOCS / f"console-{name}.png"
    await page("shot", str(path))
    shrink(path)
    size = path.stat().st_size
    assert size < LARGEST, f"{path.name} has {size} bytes"


async def main(page: Page) -> None:
    """Takes both."""
    dice = random.Random(7)
    with tempfile.TemporaryDirectory() as folder:
        async with plant(Path(folder), candidate=True) as works:
            await page("anew")
            for each in past(dice):
                works.operator.gateway.recent.call_ended(each)
            await work(works, dice)
            await page("size", *SIZE)
            await page("go", works.url)
            await page.fill("Token", TOKEN)
            await page.press("Enter")
            await page.see("#run-list", "invoice-71")
            await page.see("#charts h3", "search.read")
            await page.see("#policy-text", "tools")
            await taken(page, "light")
            await page("media", "dark")
            await page.press("k")
            await page.see("#blast", "in flight")
            await page.fill("Reason", "Refunds are posted twice", "#kill-dialog")
            await page.click("Kill writes", "#kill-dialog")
            await page.see("#banner", "writes")
            await works.call("notes.write", run="ticket-12")
            await page.see("#calls-rows tr:first-child", "kill_switch")
            await page("run", "document.getElementById('said').textContent = ''")
            await taken(page, "dark")


if __name__ == "__main__":
    with browser() as chromium:
        asyncio.run(main(chromium))
