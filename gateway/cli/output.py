"""What commands print, and how they fail."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import click

from gateway.cli.client import AdminAnswer, Unreachable

P = ParamSpec("P")


class CannotError(click.ClickException):
    """One line on stderr, exit code 2."""

    exit_code = 2

    def show(self, file: object = None) -> None:  # noqa: ARG002  # click's signature
        click.echo(f"tool-gateway: {self.message}", err=True)


class NoError(CannotError):
    """The same with exit code 1: the question was asked, and the answer is no."""

    exit_code = 1


def asks_the_gateway(command: Callable[P, None]) -> Callable[P, None]:
    """Turns an admin plane out of reach into one line and exit code 2."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except Unreachable as error:
            raise CannotError(str(error)) from None

    return run


def accepted(answer: AdminAnswer) -> dict[str, object]:
    """The answer's body. A refusal ends the command: what was asked for is not so (4xx: 1), or could not be found out (2)."""
    if answer.status < 300:
        return answer.body
    raise (CannotError if answer.status >= 500 or answer.status == 400 else NoError)(answer.detail)


def print_json(value: object) -> None:
    """For scripts: one object, sorted as it came."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def count(number: int, what: str) -> str:
    """`1 call`, `3,400 calls`."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def shown(text: str) -> str:
    """Nothing that a terminal would obey: names are their callers' to make up."""
    return text if text.isprintable() else "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)


@contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """How far a long work is: a bar on stderr while that is a terminal, else nothing. It is told of each step forward."""
    if not sys.stderr.isatty():
        yield lambda _steps: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
        yield bar.update
