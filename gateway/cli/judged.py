"""A policy judged as the gateway would judge it here: with the settings of the same variables, and nothing started."""

import os
import time
from collections.abc import Sequence

from gateway.cli.output import CannotError
from gateway.policy.document.problems import Mark, Place
from gateway.policy.document.yaml_loader import load
from gateway.policy.folder import Location
from gateway.policy.snapshot import Snapshot
from gateway.policy.source import Checked
from gateway.policy.source import check as check_policy
from gateway.settings import Settings, SettingsError, read_settings


def settings_here() -> Settings:
    """Those of the environment. One line and exit code 2 where they are bad."""
    try:
        return read_settings(os.environ)
    except SettingsError as error:
        raise CannotError(str(error)) from None


def judge(path: str, settings: Settings, *, without_secrets: bool) -> Checked:
    """The folder or file, with everything that is wrong with it."""
    return check_policy(
        path,
        environ=os.environ,
        upstream=settings.upstream,
        own_listeners=frozenset(
            (address.host, address.port) for address in (settings.listen, settings.admin_listen) if address.path is None
        ),
        budgets=settings.budgets,
        agent_id=settings.agent_id,
        without_secrets=without_secrets,
        now=time.time(),
    )


def in_order(checked: Checked, path: str) -> Snapshot:
    """Its snapshot. One line and exit code 2 where it has problems."""
    if checked.snapshot is None:
        raise CannotError(f"{path} is refused, so it decides nothing: tool-gateway check {path} tells why")
    return checked.snapshot


def place_of(path: str, key: Sequence[str]) -> str | None:
    """`file:line` of a key; None where the policy does not hold it, and its default stands."""
    file = Location.of(path).file
    mark: Mark | int = load(file.read_bytes(), file.name).mark
    for step in key:
        below = None if isinstance(mark, int) else mark.children.get(step)
        if below is None:
            return None
        mark = below
    place = Place.unpack(mark) if isinstance(mark, int) else mark.place
    return f"{file}:{place.line}" if key else None
