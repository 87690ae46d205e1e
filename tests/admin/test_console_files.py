"""The console's files: open to all, closed to everything else, and unable to load or run anything that is not theirs."""

import hashlib
import re
from pathlib import Path

import pytest

from gateway.admin.console.pages import FOLDER, load
from gateway.denial import Reason
from tests.admin.admin_plane import Operator

NPM = Path(__file__).parents[1] / "mcp/node/node_modules/uplot"
VENDOR = FOLDER / "vendor"
VENDORED = [line.split() for line in (VENDOR / "uPlot.txt").read_text().splitlines() if "  " in line]


async def test_the_page_and_its_files_need_no_token(operator: Operator) -> None:
    assert set(load()) == {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*") if path.is_file()}
    for name, page in load().items():
        url = operator.gateway.admin_url + ("/" if name == "index.html" else f"/console/{name}")
        async with operator.session.get(url) as response:
            assert (response.status, await response.read()) == (200, page.body)
            assert response.headers["Content-Type"] == page.type
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            policy = response.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert "unsafe" not in str(policy)
        async with operator.session.get(url, headers={"If-None-Match": response.headers["ETag"]}) as again:
            assert (again.status, await again.read()) == (304, b"")


@pytest.mark.parametrize("path", ["/console/", "/console/api.py", "/console/../pages.py", "/console/vendor"])
async def test_there_is_nothing_else(operator: Operator, path: str) -> None:
    async with operator.session.get(operator.gateway.admin_url + path) as response:
        assert response.status in (401, 404)  # the client takes `..` away: what is left needs the token


async def test_pages_of_other_sites_reach_it_under_no_name_of_theirs(operator: Operator) -> None:
    await operator.get("/", 403, {"Host": "evil.example"})
    await operator.get("/", 403, {"Origin": "http://evil.example"})


def test_what_is_shown_is_never_read_as_markup() -> None:
    for name, page in load().items():
        if name.startswith("vendor/"):
            continue
        text = page.body.decode()
        for way in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "Function(",
            "javascript:",
        ):
            assert way not in text, name
        assert " style=" not in text, name
        assert " on" + "click=" not in text, name
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), name
        assert "https://" not in text, name
        assert "localStorage" not in text, name


@pytest.mark.parametrize(("digest", "file", "source"), VENDORED)
def test_the_vendored_library_is_its_packages_byte_for_byte(digest: str, file: str, source: str) -> None:
    body = (VENDOR / file).read_bytes()
    assert hashlib.sha256(body).hexdigest() == digest
    if NPM.exists():
        assert (NPM / source).read_bytes() == body


def test_all_that_is_vendored_is_written_down() -> None:
    assert {file for _, file, _ in VENDORED} | {"uPlot.txt"} == {path.name for path in VENDOR.iterdir()}


def test_calls_can_be_filtered_by_every_reason() -> None:
    text = load()["calls.js"].body.decode()
    named = re.search(r"const REASONS = \[(.*?)\];", text, re.DOTALL)
    assert named is not None
    assert set(re.findall(r'"(\w+)"', named[1])) == set(Reason)
