"""The walk of docs/incident.md with the console, click by click as the page says, at a gateway with one agent that misbehaves."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.admin.console.pages import load
from tests.admin.admin_plane import TOKEN
from tests.admin.incident import FAILING_WRITE, FORBIDDEN_TOOL, SPENDING, Incident, Trouble, incident
from tests.console.browser import PROGRAM, Page

pytestmark = pytest.mark.needs(PROGRAM)

PAGE = (Path(__file__).parents[2] / "docs/incident.md").read_text("utf-8")
WALK = PAGE.partition("## With the console\n")[2].partition("\n## ")[0]
STEPS = re.compile(
    r"into \*\*(?P<field>.+?)\*\*|click \*\*(?P<button>.+?)\*\*|(?<!\*)\*(?P<sight>[^*]+)\*(?!\*)", re.IGNORECASE
)
SEEN = "#trouble p, dialog[open] p, dialog[open] dt, #switch-list p"
SENTENCES = {
    FORBIDDEN_TOOL: "This agent may not use the tool shell.run",
    SPENDING: "max_spend_usd_per_day",
}


@pytest.fixture(params=[FORBIDDEN_TOOL, SPENDING], ids=lambda trouble: trouble.reason)
async def scene(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Incident]:
    trouble: Trouble = request.param
    async with incident(tmp_path, trouble) as scene:
        await scene.until_it_shows()
        yield scene


@pytest.fixture
async def opened(scene: Incident, chromium: Page) -> AsyncIterator[Page]:
    await chromium("anew")
    await chromium("go", scene.operator.gateway.admin_url + "/")
    yield chromium
    await chromium("anew")


async def test_the_first_screen_names_who_and_why_and_lets_it_be_stopped_alone(scene: Incident, opened: Page) -> None:
    trouble = scene.trouble
    await opened.fill("Token", TOKEN)
    await opened.press("Enter")
    await opened.see("#trouble p", SENTENCES[trouble])
    await opened.see(
        "#trouble-list .trouble", f"{trouble.tool}: {trouble.reason}."
    )  # who spends is named before the refusals come
    assert await opened("number", "#trouble-list .trouble") == 1
    named = await opened.text("#trouble-list .trouble")
    assert named.startswith(f"{trouble.agent} ")
    assert f"{trouble.tool}: {trouble.reason}." in named
    assert await opened("run", "document.querySelector('#trouble').getBoundingClientRect().bottom < innerHeight / 2")
    await opened.click(f"Stop {trouble.agent}…")
    await opened.see("#blast", f"Stops every call of the agent {trouble.agent}; other agents go on.")
    await opened.press("Enter")
    await opened.see("#trouble p", f"{trouble.agent} is stopped")
    assert await scene.call(trouble.agent, trouble.tool) == "agent_disabled"
    assert await scene.call("support-agent", "search.read") == "ok"
    await opened.see("#switch-list p", f"agent:{trouble.agent} {trouble.tool}: {trouble.reason}")
    await opened.click("These calls")
    assert await opened("run", "document.getElementById('filter-agent').value") == trouble.agent
    await opened.see("#calls-rows tr", trouble.reason)


@pytest.mark.parametrize("scene", [FAILING_WRITE], indirect=True)
async def test_the_page_can_be_followed_click_by_click(scene: Incident, opened: Page) -> None:
    clicks, reasons = 0, []
    for step in STEPS.finditer(WALK):
        within = "dialog[open]" if await opened("number", "dialog[open]") else "body"
        if step["field"]:
            await opened.fill(step["field"], TOKEN, within)
        elif step["button"]:
            await opened.click(step["button"], within)
            clicks += 1
        else:
            for part in step["sight"].split("…"):
                await opened.see(SEEN, part.strip())
            reasons.append(await scene.call(FAILING_WRITE.agent, FAILING_WRITE.tool))
    assert reasons == ["tool_error"] * 4 + ["agent_disabled", "tool_error"]
    assert clicks == 7


def test_what_the_console_says_of_other_incidents_it_does_say() -> None:
    said = load()["main.js"].body.decode()
    promised = [word for text in re.findall(r"console says (.+?)[;.]\s", PAGE) for word in re.findall("`(.+?)`", text)]
    assert len(promised) == 5
    for words in promised:
        assert f'"{words}"' in said
