"""A hook of mkdocs.yml: what a page of docs/ links to beside docs/ is in the repository, not on the site, and is named instead."""

import re

_OUTWARD = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, **_context: object) -> str:
    """Of MkDocs' events, the one that sees a page before it is rendered."""
    return _OUTWARD.sub(r"\1 (`\2` in the repository)", markdown)
