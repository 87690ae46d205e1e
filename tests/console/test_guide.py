"""docs/console.md says what is so."""

import re
from pathlib import Path

from gateway.admin import live
from gateway.admin.console.pages import load
from tests.console.pictures import DOCS, LARGEST

GUIDE = (DOCS / "console.md").read_text("utf-8")
PAGE = load()["index.html"].body.decode()


def test_the_token_is_where_guide_and_page_say() -> None:
    [command] = re.findall(r"```sh\n(.*?)\n```", GUIDE, re.DOTALL)
    assert f"<pre>{command}</pre>" in PAGE
    assert command == "cat var/admin_token"


def test_guide_and_page_name_the_same_keys() -> None:
    in_guide = {
        key for row in re.findall(r"^\| (.*) \|$", GUIDE, re.MULTILINE) for key in re.findall(r"`(.)`", row[:12])
    }
    in_page = {key for key in re.findall(r"<kbd>(.+?)</kbd>", PAGE) if len(key) == 1}
    assert in_guide - {"?"} == in_page


def test_every_section_is_described() -> None:
    titles = re.findall(r'<h2 id="\w+-title">([A-Z][a-z]+(?: [a-z]+)?)\s*<', PAGE)
    shown = [title for title in titles if title not in ("Admin token", "Kill", "Keys")]
    assert re.findall(r"^\| \*\*(.+?)\*\* \|", GUIDE, re.MULTILINE) == shown


def test_streams_are_bounded_as_it_says() -> None:
    assert f"There may be {live.MOST_LISTENERS} streams; all end when the token changes." in GUIDE


def test_the_pictures_are_small() -> None:
    pictures = [DOCS / name for name in re.findall(r"\((console-\w+\.png)\)", GUIDE)]
    assert len(pictures) == 2
    assert all(Path(picture).stat().st_size < LARGEST for picture in pictures)
