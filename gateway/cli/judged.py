"""A policy judged as the gateway would judge it here: with the settings of the same variables, and nothing started."""

import os
import time

from gateway.cli.output import CannotError
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
