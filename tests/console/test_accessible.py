"""What axe, the usual judge of accessibility, finds in the console: nothing, by day and by night."""

import pytest

from tests.console.browser import PROGRAM, Page
from tests.console.plant import Plant
from tests.mcp.node_tools import HERE

pytestmark = pytest.mark.needs(PROGRAM)

AXE = HERE / "node/node_modules/axe-core/axe.min.js"
FOUND = """axe.run({resultTypes: ["violations"]}).then(({violations}) =>
    violations.map(({id, nodes}) => `${id}: ${nodes.map((node) => node.html).join(" ")}`))"""


async def found(page: Page) -> list[str]:
    return list(await page("run", FOUND))


async def test_axe_has_nothing_to_say(works: Plant, console: Page) -> None:
    for number in range(4):
        await works.call("search.read")
        await works.call("flaky", "billing-agent", "invoice-7", {"n": number})
        await works.call("shell.run", "billing-agent", "invoice-7")
    await works.operator.post("/v1/kill-switches", {"scope": "tool:echo", "reason": "broken"})
    await console.see("#banner", "broken")
    await console.see("#run-list", "invoice-7")
    await console("run", AXE.read_text("utf-8"))
    for scheme in ("light", "dark"):
        await console("media", scheme)
        assert await found(console) == []
        await console.press("k")
        await console.see("#blast", "in flight")
        assert await found(console) == []
        await console.press("Escape")
        await console.click("Story of flaky", "#calls-rows")
        await console.see("#story .tries")
        assert await found(console) == []
        await console.press("Escape")


@pytest.mark.parametrize("width", [1280, 820, 390])
async def test_nothing_is_wider_than_the_window(works: Plant, console: Page, width: int) -> None:
    await works.call("search.read")
    await console.see("#run-list tr", "ticket-1")
    await console("size", width, 800)
    assert await console("run", "document.documentElement.scrollWidth") <= width
