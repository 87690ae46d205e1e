"""The documentation as a whole: it builds, its links lead somewhere, and the pages made from the code say what the code says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.denial import Reason
from scripts import reference

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")])
LINK = re.compile(r"\[[^\]]+\]\((?!https?://)([^)#]+)(?:#[^)]*)?\)")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, env={"NO_MKDOCS_2_WARNING": "1"}, timeout=120
    )
    assert (built.returncode, built.stdout + built.stderr) == (0, "")
    assert (tmp_path / "site" / "index.html").exists()


def test_every_page_stands_in_the_navigation_and_in_the_index() -> None:
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in ROOT.glob("docs/**/*.md")}
    navigation = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2])
    index = set(re.findall(r"\]\(([\w/-]+\.md)\)", (ROOT / "docs/README.md").read_text()))
    assert sorted(navigation) == sorted(pages)
    assert {page for page in pages if "/" not in page} - {"README.md"} <= index


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(page: Path) -> None:
    missing = [link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert missing == []


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_page_made_from_the_code_is_what_the_code_says(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == reference.PAGES[name](), "run `make docs`"


def test_every_key_of_a_policy_has_words_and_an_example() -> None:
    rows = [line.split(" | ") for line in reference.policy_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 90
    assert [row[0] for row in rows if not row[1].strip() or not row[3].strip(" |")] == []


def test_every_way_a_call_can_end_has_words() -> None:
    assert set(reference.meanings()) == {reason.name for reason in Reason}
