"""A browser that has the console of a gateway open, with the operators' token or before it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.admin.admin_plane import TOKEN
from tests.console.browser import Page, browser
from tests.console.plant import Plant, plant

EXPECTED = (
    "Failed to load resource: the server responded with a status of 4",
    "Failed to load resource: net::ERR_INCOMPLETE_CHUNKED_ENCODING",
)
"""What the browser writes of a wrong token, a filter that is none, a switch that is held elsewhere; and of a stream that breaks."""


@pytest.fixture
async def works(tmp_path: Path) -> AsyncIterator[Plant]:
    async with plant(tmp_path, candidate=True) as works:
        yield works


@pytest.fixture(scope="session")
def chromium() -> Iterator[Page]:
    with browser() as page:
        yield page


@pytest.fixture
async def stranger(works: Plant, chromium: Page) -> AsyncIterator[Page]:
    """Has the page, and no token. At the end it must have complained of nothing and asked nobody else."""
    page = chromium
    await page("anew")
    assert await page("go", works.url) == 200
    yield page
    heard = await page("heard")
    await page("anew")
    assert heard["asked"] == [works.url.rstrip("/")]
    assert [text for text in heard["complaints"] if not text.startswith(EXPECTED)] == []


@pytest.fixture
async def console(works: Plant, stranger: Page) -> Page:
    """Signed in."""
    await stranger.fill("Token", TOKEN)
    await stranger.press("Enter")
    await stranger.see("#state", "serving")
    return stranger
