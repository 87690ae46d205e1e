"""How `init` writes files: never over what is there."""

import os
from pathlib import Path

import click


def create(path: Path, text: str, mode: int) -> None:
    """Says what it did. A dangling link counts as there, too. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if mode == 0o600 else 0o755)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        click.echo(f"kept     {path}")
        return
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    click.echo(f"created  {path}")
