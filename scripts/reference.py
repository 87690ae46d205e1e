"""Writes the two pages of docs that are made from the code: every key of a policy, and every way a call can end.

`make docs` runs it; a test holds the pages to it.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from gateway import denial
from gateway.denial import ANSWERS, Denial, Reason
from gateway.policy.schema.json_schema import json_schema

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "tests/policies/good/full.yaml"
"""A valid policy that has every key, at a value that is not its default."""
FILES = {
    f"tls.{key}": f"/etc/gateway/{key.removesuffix('_file')}.pem"
    for key in ("ca_file", "client_cert_file", "client_key_file")
}
"""Examples that the policy cannot have, since the files must exist."""
MADE = "<!-- Made by scripts/reference.py (`make docs`): edit what it is made from. -->"

_Json = Mapping[str, Any]

POLICY_PREFACE = (
    "`policy.yaml` may have these keys and no others: an unknown one is refused, with the nearest that exists. A key without a default",
    "may be left out; then it bounds nothing, or comes from where its row says. `*` stands for a name of your choice. The examples are",
    "those of one valid policy. `tool-gateway schema` prints the same for editors.",
)
DENIALS_PREFACE = (
    "The header `Tool-Gateway-Reason`, the field `reason` of a denial, the log and the metrics say one of these words. They are stable:",
    "match on them. A denial's `detail` is one sentence for the model: the rule, what was used of what, what to do next. Where",
    "`stop_reason` is set, the run should end. 429 and 503 mean that waiting helps, and come with `Retry-After` of at most 60 seconds; a",
    "longer wait is 403 with `retry_after_ms` in the body.",
)


def policy_page() -> str:
    """docs/policy.md, from the schema: a table a section, in the order of a file."""
    example = yaml.safe_load(EXAMPLES.read_text())
    lines = ["# Every key of a policy", "", MADE, "", *POLICY_PREFACE]
    for path, section in sections(json_schema()):
        lines += ["", f"## {path or 'policy.yaml'}", "", section["description"], ""]
        lines += ["| key | meaning | default | example |", "|---|---|---|---|"]
        for key, schema in section["properties"].items():
            at = [*path.split("."), key] if path else [key]
            shown = "below" if any(sections(schema)) else as_code(example_of(at, example))
            lines.append(f"| `{key}` | {meaning(schema)} | {as_code(schema.get('default'))} | {shown} |")
    return "\n".join(lines) + "\n"


def sections(schema: _Json, path: str = "") -> Iterator[tuple[str, _Json]]:
    """Each mapping with known keys, outermost first. `*` stands for a name that the writer of the policy chooses."""
    if "properties" in schema:
        yield path, schema
        for key, below in schema["properties"].items():
            yield from sections(below, f"{path}.{key}".lstrip("."))
    elif isinstance(schema.get("additionalProperties"), Mapping):
        yield from sections(schema["additionalProperties"], f"{path}.*")
    for other in schema.get("anyOf", ()):
        yield from sections(other, path)


def meaning(schema: _Json) -> str:
    """The key's own words, else those of its kind."""
    kinds = (schema, *schema.get("anyOf", ()), schema.get("additionalProperties"))
    words = next((kind["description"] for kind in kinds if isinstance(kind, Mapping) and "description" in kind), "")
    return str(words).replace("|", "\\|")


def example_of(path: list[str], policy: object) -> object:
    """What the policy says there; of a name that its writer chooses, the first one's."""
    if ".".join(path[-2:]) in FILES:
        return FILES[".".join(path[-2:])]
    found = policy
    for step in path:
        if not isinstance(found, Mapping):
            return None
        found = next(iter(found.values()), None) if step == "*" else found.get(step)
    return found.isoformat() if isinstance(found, datetime) else found


def as_code(value: object) -> str:
    """As it would stand in the file, on one line."""
    if value is None:
        return ""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).removesuffix("...\n").strip()
    return f"`{text}`".replace("|", "\\|")


def denials_page() -> str:
    """docs/denials.md, from gateway/denial.py."""
    words = meanings()
    lines = ["# Every way a call can end", "", MADE, "", *DENIALS_PREFACE, "", "## Denials and failures", ""]
    lines += ["| reason | HTTP | title | what happened, and what helps |", "|---|---|---|---|"]
    lines += [
        f"| `{reason}` | {statuses(reason)} | {ANSWERS[reason].title} | {words[reason.name]} |" for reason in ANSWERS
    ]
    lines += ["", "## Other ends", "", "| reason | what happened |", "|---|---|"]
    lines += [f"| `{reason}` | {words[reason.name]} |" for reason in Reason if reason not in ANSWERS]
    return "\n".join(lines) + "\n"


def statuses(reason: Reason) -> str:
    """With a wait that helps, and without."""
    now, never = Denial(reason, "", retry_after=1).status, Denial(reason, "").status
    return str(never) if now == never or ANSWERS[reason].status == 403 else f"{now} or {never}"


def meanings() -> Mapping[str, str]:
    """By name: the docstring below the member, which is there in the source alone."""
    (reasons,) = (
        found
        for found in ast.parse(inspect.getsource(denial)).body
        if isinstance(found, ast.ClassDef) and found.name == Reason.__name__
    )
    return {
        member.targets[0].id: " ".join(below.value.value.split())
        for member, below in pairwise(reasons.body)
        if isinstance(member, ast.Assign) and isinstance(member.targets[0], ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


PAGES = {"docs/policy.md": policy_page, "docs/denials.md": denials_page}


def main() -> int:
    """Writes both."""
    for name, page in PAGES.items():
        (ROOT / name).write_text(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
