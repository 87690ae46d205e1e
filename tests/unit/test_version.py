from click.testing import CliRunner

import gateway.pipeline.pipeline
from gateway.cli.commands import commands
from gateway.version import code

RUNS = "pure Python" if gateway.pipeline.pipeline.__file__.endswith(".py") else "compiled"


def test_the_version_says_how_the_code_runs() -> None:
    """`make compiled` runs this, too."""
    assert code() == RUNS
    said = CliRunner().invoke(commands, ["--version"])
    assert said.stdout.endswith(f" ({RUNS})\n")
