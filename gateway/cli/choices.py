"""What a shell offers behind a word that is half written: names that the running gateway knows. Where none is in reach, fewer."""

from collections.abc import Iterable

import click

from gateway.cli.client import Unreachable, ask
from gateway.denial import Reason

_PATIENCE = 1.0
"""Seconds. Somebody has pressed a key and waits."""


def tools(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Those that the policy spells out."""
    return _that_begin(_names("/v1/policy", "tools"), begun)


def agents(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Those that the policy names, and the one for all others."""
    return _that_begin({"default", *_names("/v1/policy", "agents")}, begun)


def reasons(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """One word, or the last of several."""
    first, comma, last = begun.rpartition(",")
    if not comma and begun.startswith("!"):
        first, last = "!", begun[1:]
    return _that_begin((f"{first}{comma}{reason.value}" for reason in Reason), f"{first}{comma}{last}")


def scopes(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Of a kill switch to set. Runs are too many to be offered."""
    kind, colon, name = begun.partition(":")
    if colon and kind == "tool":
        return [f"tool:{tool}" for tool in tools(context, parameter, name)]
    if colon and kind == "agent":
        return [f"agent:{agent}" for agent in agents(context, parameter, name)]
    return _that_begin(("all", "writes", "tool:", "agent:", "run:"), begun)


def held_scopes(_context: click.Context, _parameter: click.Parameter, begun: str) -> list[str]:
    """Of kill switches that are on."""
    return _that_begin({str(switch.get("scope")) for switch in _listed("/v1/kill-switches", "kill_switches")}, begun)


def _that_begin(names: Iterable[str], begun: str) -> list[str]:
    return sorted(name for name in names if name.startswith(begun))


def _names(path: str, key: str) -> list[str]:
    found = _asked(path).get(key)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def _listed(path: str, key: str) -> list[dict[str, object]]:
    found = _asked(path).get(key)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def _asked(path: str) -> dict[str, object]:
    try:
        return ask("GET", path, patience=_PATIENCE).body
    except Unreachable:
        return {}
