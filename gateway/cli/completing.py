"""`completion`: the script with which a shell completes commands, options and names."""

import click
from click.shell_completion import get_completion_class

PROGRAM = "tool-gateway"
_VARIABLE = "_TOOL_GATEWAY_COMPLETE"
_COLONS = '# Scopes (tool:search.read) are one word.\nCOMP_WORDBREAKS="${COMP_WORDBREAKS//:/}"\n'


@click.command(
    epilog="""\b
Install it for you alone:
  bash  tool-gateway completion bash > ~/.local/share/bash-completion/completions/tool-gateway   (bash 4.4 or later)
  zsh   tool-gateway completion zsh > "${fpath[1]}/_tool-gateway"                                 (a folder of $fpath; then compinit)
  fish  tool-gateway completion fish > ~/.config/fish/completions/tool-gateway.fish
Or try it in this bash:
  eval "$(tool-gateway completion bash)"

\b
Tools, agents and kill switches that are on are asked of the running gateway, as `status` finds it.
"""
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of a shell."""
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101  # for the type checker: the choices are click's own
    # Its `source` would start a shell to look at its version.
    script = found(context.find_root().command, {}, PROGRAM, _VARIABLE)
    click.echo((_COLONS if shell == "bash" else "") + script.source_template % script.source_vars())
