"""Commands in this process, for tests with the fixture `alone`: in a folder of their own, with no gateway in reach."""

from pathlib import Path

from click.testing import CliRunner, Result

from gateway.cli.commands import commands

GOOD = "tools: {allowlist: [search.read]}\nupstreams: {default: {url: 'http://127.0.0.1:9'}}\n"


def run(*arguments: str) -> Result:
    """To its end."""
    return CliRunner().invoke(commands, arguments)


def write(text: str, folder: str = "policies") -> None:
    """A policy."""
    Path(folder).mkdir(exist_ok=True)
    (Path(folder) / "policy.yaml").write_text(text)
