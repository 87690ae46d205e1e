"""The group of all commands. Each is imported when it is used: `kill` must not wait for what `check` needs."""

from importlib import import_module

import click
from click.shell_completion import CompletionItem

from gateway.cli.output import CannotError
from gateway.version import code

_WHERE = {
    "serve": "beginning",
    "check": "checking",
    "explain": "explaining",
    "simulate": "simulating",
    "kill": "operating",
    "restore": "operating",
    "status": "operating",
    "tail": "tailing",
    "rollout": "trying",
    "schema": "checking",
    "completion": "completing",
    "init": "beginning",
    "init kubernetes": "kubernetes",
    "demo": "beginning",
}

_EPILOG = """\b
Try it:
  tool-gateway init
  tool-gateway demo &
  tool-gateway serve

\b
Something is wrong:
  tool-gateway status     who is in trouble, why, and the command that stops it

Exit codes: 0 done, 1 the answer is no (a bad policy, a stop that still holds), 2 it could not be asked.
"""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's signature
        return list(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # click's signature
        if cmd_name not in _WHERE:
            return None
        command = getattr(import_module(f"gateway.cli.{_WHERE[cmd_name]}"), cmd_name.rpartition(" ")[2])
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """`init kubernetes` is one name; a folder called so is `init ./kubernetes`."""
        two_words = " ".join(args[:2])
        return super().resolve_command(ctx, [two_words, *args[2:]] if two_words in _WHERE else args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The names alone: what each command does would have to be imported."""
        names = [CompletionItem(name) for name in _WHERE if name.startswith(incomplete) and " " not in name]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> object:
        """A command that is called the wrong way says so in one line, like any other failure."""
        try:
            return super().invoke(ctx)
        except click.exceptions.NoArgsIsHelpError:
            raise
        except click.UsageError as error:
            command = error.ctx.command_path if error.ctx else "tool-gateway"
            raise CannotError(f"{error.format_message()} See {command} --help.") from None


@click.group(cls=_Commands, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tool-gateway", message=f"%(version)s ({code()})")
def commands() -> None:
    """Stands between an AI agent and its tools: allowlists, budgets, retries, a kill switch and a redacted log."""
