"""`init kubernetes`: writes what stands in manifests/, made out to one Deployment, with a starter policy and fresh secrets."""

import re
import secrets
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from gateway.cli.output import CannotError
from gateway.cli.writing import create

_NAME = re.compile(r"(?=.{1,63}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?")
"""Of a Deployment or container: a DNS label."""
PARTS = ("egress-lock", "secrets-csi", "fleet", "canary")
"""Those that are optional."""
_KILL_SWITCH = """\
# Stops calls in every pod that mounts this, within a minute of `kubectl apply -k .`; within 100 ms in one pod:
#   kubectl exec POD -c tool-gateway -- tool-gateway kill all --reason TEXT
disable_all: false
disable_writes: false
disable_tools: []
reason: ""
"""


@click.command(
    epilog="""\b
Example:
  tool-gateway init kubernetes --deployment assistant --with egress-lock --with fleet k8s/gateway
  kubectl kustomize k8s/gateway
"""
)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default="kubernetes")
@click.option("--deployment", required=True, help="The Deployment that gets a gateway beside its agent.")
@click.option("--container", help="Its container that holds the agent.  [default: the Deployment's name]")
@click.option(
    "--base", default="../base", show_default=True, help="The kustomization or file that holds it, seen from DIRECTORY."
)
@click.option(
    "--with", "parts", multiple=True, type=click.Choice(PARTS), help="A part that is optional; may be repeated."
)
def kubernetes(directory: Path, deployment: str, container: str | None, base: str, parts: tuple[str, ...]) -> None:
    """Write a kustomize overlay that puts the gateway beside a Deployment's agent.

    Creates in DIRECTORY kustomization.yaml, a folder for each of its parts, policies/ with a starter policy and kill_switch.yaml, and
    secrets/ (mode 0600, kept out of git). A file that exists is left as it is.
    """
    container = container or deployment
    for option, name in (("--deployment", deployment), ("--container", container)):
        if not _NAME.fullmatch(name):
            raise CannotError(f"{option}: expected a name of Kubernetes (small letters, digits and -, at most 63)")
    if not re.fullmatch(r"[\w./:?&=@~+-]+", base):
        raise CannotError("--base: expected a path or URL of a kustomization, or the path of a file")
    manifests = files("gateway.cli").joinpath("manifests")
    try:
        for path, source in _walk(manifests):
            text = _made_out(source.read_text("utf-8"), deployment, container)
            create(directory / path, _chosen(text, base, parts) if path == "kustomization.yaml" else text, _mode(path))
        _create_policy_and_secrets(directory)
    except OSError as error:
        raise CannotError(f"{error.filename}: {(error.strerror or 'cannot be written').lower()}") from None
    click.echo(f"Next: edit {directory / 'policies' / 'policy.yaml'}, then kubectl kustomize {directory}")


def _walk(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    """(path from here, file) of all files below, by name."""
    for entry in sorted(folder.iterdir(), key=lambda each: each.name):
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        else:
            yield f"{prefix}{entry.name}", entry


def _mode(path: str) -> int:
    return 0o755 if path.endswith(".sh") else 0o644


def _made_out(text: str, deployment: str, container: str) -> str:
    """The manifests speak of a Deployment `agent` whose container is called so, too. Another one's in the same namespace share no name."""
    text = re.sub(r"^( *- name:) agent$", rf"\1 {container}", text, flags=re.MULTILINE)
    text = re.sub(
        r"\bagent-(?=\{\{|tool-gateway)", f"{deployment}-", text
    )  # names of its pods, and of what is made for it
    return re.sub(r"\b(name|value|tool-gateway(?:-\w+)?): agent(?=[},])", rf"\1: {deployment}", text)


def _chosen(text: str, base: str, parts: tuple[str, ...]) -> str:
    text = text.replace("- ../base ", f"- {base} ", 1)
    for part in parts:
        text = text.replace(f"# - {part} ", f"- {part} ", 1)
    return text


def _create_policy_and_secrets(directory: Path) -> None:
    starter = files("gateway.cli").joinpath("starter.yaml").read_text("utf-8")
    create(directory / "policies" / "policy.yaml", starter, 0o644)
    create(directory / "policies" / "kill_switch.yaml", _KILL_SWITCH, 0o644)
    for name in ("admin_token", "valkey_password"):
        create(directory / "secrets" / name, secrets.token_urlsafe(32), 0o600)
    create(directory / ".gitignore", "secrets/\n", 0o644)
