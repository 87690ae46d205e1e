"""The command line `tool-gateway`. `serve` starts without loading the other commands: the agent beside us is waiting."""

import sys


def main() -> None:
    """Runs the command of sys.argv; leaves with 0 (done), 1 (no) or 2 (cannot)."""
    if sys.argv[1:] == ["serve"]:
        from gateway.cli.serve import serve

        sys.exit(serve())
    from gateway.cli.commands import commands

    commands(prog_name="tool-gateway")
