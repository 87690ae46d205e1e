"""docs/comparison.md: every word about another project says where it comes from, and what is measured is what docs/performance.md shows."""

import re
from pathlib import Path
from urllib.parse import urlsplit

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "comparison.md").read_text("utf-8")
PERFORMANCE = (DOCS / "performance.md").read_text("utf-8")
SOURCES = dict(re.findall(r"^\[([a-z0-9-]+)\]: (\S+)$", PAGE, re.MULTILINE))
HOMES = {
    "Envoy": "www.envoyproxy.io/docs/envoy/",
    "agentgateway": "agentgateway.dev/docs/ github.com/agentgateway/agentgateway/",
    "ContextForge": "ibm.github.io/mcp-context-forge/ github.com/IBM/mcp-context-forge/",
    "LiteLLM": "docs.litellm.ai/docs/ github.com/BerriAI/litellm/",
    "pipelock": "github.com/luckyPipewrench/pipelock/",
    "smokescreen": "github.com/stripe/smokescreen/",
}
"""Where each project's own documentation is."""
CLAIM = re.compile(r"\[(yes|partly|no|not said)\]\[([a-z0-9-]+)\]")
MEASURED = re.compile(r"\[(less|more)\]\[perf\]|not measured")


def rows() -> list[list[str]]:
    table = PAGE.partition("## The table")[2].partition("\n## ")[0]
    cells = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    return [row for row in cells if len(row) == len(HOMES) + 2]


def measured() -> list[str]:
    (row,) = (row for row in rows() if row[0].startswith("CPU time"))
    return row[2:]


def test_every_claim_about_others_has_a_source_of_theirs() -> None:
    claims = [row for row in rows() if row[0] and row[2:] != measured()]
    assert len(claims) > 20
    for feature, _, *theirs in claims:
        for (name, homes), cell in zip(HOMES.items(), theirs, strict=True):
            claim = CLAIM.fullmatch(cell)
            assert claim, f"{feature}: {name}: {cell}"
            place = SOURCES[claim[2]].removeprefix("https://")
            assert place.startswith(tuple(homes.split())), f"{feature}: {name}: {place}"


def test_what_the_gateway_is_said_to_do_is_said_plainly() -> None:
    assert {row[1] for row in rows() if row[0]} - {""} == {"yes", "no"}
    assert [row[1] for row in rows()].count("no") > 5, "what it does not do stands there, too"


def test_sources_have_a_proper_form_and_are_all_used() -> None:
    used = set(re.findall(r"\]\[([a-z0-9-]+)\]", PAGE))
    assert used == SOURCES.keys()
    for name, source in SOURCES.items():
        parts = urlsplit(source)
        assert name == "perf" or (parts.scheme == "https" and parts.hostname and len(parts.path) > 1), source
        assert parts.query == "", source


def test_every_paragraph_about_another_project_links_to_it() -> None:
    paragraphs = re.findall(r"^\*\*(\w+)\*\*, when .*?(?=\n\n)", PAGE, re.MULTILINE | re.DOTALL)
    assert paragraphs == list(HOMES)
    for text in re.findall(r"^(\*\*\w+\*\*, when .*?)(?=\n\n)", PAGE, re.MULTILINE | re.DOTALL):
        assert re.search(r"\]\[[a-z0-9-]+\]", text), text[:40]


def cost_of(subject: str) -> float | None:
    """CPU a call, as a multiple of the gateway's."""
    row = re.search(rf"^\| {subject} \| [\d.]+ \| [\d.,]+ \| ([\d.]+) \|", PERFORMANCE, re.MULTILINE)
    return float(row[1]) if row else None


def test_figures_are_those_of_the_benchmark() -> None:
    subjects = {"Envoy": "Envoy with features", "LiteLLM": "LiteLLM proxy"}
    for name, cell in zip(HOMES, measured(), strict=True):
        assert MEASURED.fullmatch(cell), cell
        cost = cost_of(subjects.get(name, name))
        said = "not measured" if cost is None else "[less][perf]" if cost < 1 else "[more][perf]"
        assert cell == said, f"{name}: docs/performance.md has {cost} of the gateway's CPU a call"
    assert ("it costs less CPU a call" in PAGE) == (measured()[0] == "[less][perf]")


def test_versions_that_were_measured_are_those_of_the_benchmark() -> None:
    versions = re.findall(r"^\| (\w+) \| .* ([\d.]+) was measured \|$", PAGE, re.MULTILINE)
    assert len(versions) == 3
    for name, version in versions:
        assert re.search(rf"^\| {name}(?: proxy)? \| {re.escape(version)} \|", PERFORMANCE, re.MULTILINE), name
