"""`serve`, `init` and `demo`: what one starts with."""

import asyncio
import json
import os
import secrets
import sys
from importlib.resources import files
from pathlib import Path

import click

from gateway.admin.token import DEFAULT_FILE
from gateway.cli.output import CannotError
from gateway.cli.writing import create
from gateway.settings import VARIABLES, Address, parse_address

_SETTINGS = "\b\nSettings, read from the environment once:\n" + "\n".join(
    f"  {name:<27} {f'{known.default:<22}' if known.default else '-':<22} {known.meaning}"
    for name, known in VARIABLES.items()
)


@click.command(epilog=_SETTINGS)
def serve() -> None:
    """Run the gateway until SIGTERM or Ctrl-C."""
    from gateway.cli.serve import serve as serve_here

    sys.exit(serve_here())


@click.command(
    epilog="""\b
Example:
  tool-gateway init && tool-gateway check
"""
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
def init(directory: Path) -> None:
    """Write a starter policy and an admin token.

    Creates in DIRECTORY policies/policy.yaml, policies/.schema.json (for editors) and var/admin_token (mode 0600). A file that exists is
    left as it is.
    """
    from gateway.policy.schema.json_schema import json_schema

    starter = files("gateway.cli").joinpath("starter.yaml").read_text("utf-8")
    try:
        create(directory / "policies" / "policy.yaml", starter, 0o644)
        create(directory / "policies" / ".schema.json", json.dumps(json_schema(), indent=2) + "\n", 0o644)
        create(directory / DEFAULT_FILE, secrets.token_urlsafe(32) + "\n", 0o600)
    except OSError as error:
        raise CannotError(f"{error.filename}: {(error.strerror or 'cannot be written').lower()}") from None
    click.echo("Next: tool-gateway check, then tool-gateway serve (tool-gateway demo is a toy upstream to try).")


@click.command(
    epilog="""\b
Behind a gateway:
  GATEWAY_UPSTREAM=http://127.0.0.1:9000 tool-gateway serve
"""
)
@click.option("--listen", default="127.0.0.1:9000", show_default=True, metavar="HOST:PORT", help="Where to listen.")
def demo(listen: str) -> None:
    """Run a toy tool server to try the gateway on.

    \b
    /search.read   finds toy documents ({"q": "budgets"}, or ?q=budgets); one holds an e-mail address
    /notes.write   keeps a note ({"text": "…"}); GET lists the notes
    /echo          sends back method, path, query, headers and body as they arrived
    /slow          answers after ?seconds=2 (at most 60)
    /flaky         503, 503, then 200, over and over; ?after=1 adds Retry-After
    /fail          answers 500, or ?status=503
    /cut           breaks off in the middle of its answer
    GET /          counts what arrived, by tool; DELETE / starts over
    """
    try:
        address = parse_address(listen)
    except ValueError:
        address = Address(path="")
    if address.path is not None:
        raise CannotError("--listen: expected host:port or [v6]:port")
    from gateway.demo import serve as serve_tools

    def say(host: str, port: int) -> None:
        url = f"http://{Address(host, port)}"
        click.echo(f"toy tools at {url} until Ctrl-C; GET {url}/ counts what arrived", err=True)

    try:
        asyncio.run(serve_tools(address.host, address.port, say))
    except OSError as error:
        # asyncio's own text repeats the address; a failed look-up has no errno of the system.
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or "unknown host"
        raise CannotError(f"cannot listen at {address}: {why.lower()}") from None
