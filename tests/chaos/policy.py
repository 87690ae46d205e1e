"""What the gateway of the chaos is told: every limit that counts something, and a candidate that breaks one tool."""

from typing import Any

MAX_TOOL_CALLS, MAX_USD = 12, 0.03
MAX_ACTIONS, MAX_DAILY_WRITES, MAX_DAILY_USD = 700, 150, 1.5
AGENTS = ("billing", "scout", "default")
PRICES = {"search.read": 1000, "notes.write": 5000, "paced.read": 2000, "events.stream": 3000, "large.write": 7000}
"""Micro-USD. No call is free: a line of the log that names no cost says that nothing was charged."""
WRITES = ("notes.write", "large.write")
UPSTREAMS = {
    "default": ("search.read", "notes.write"),
    "paced": ("paced.read",),
    "heavy": ("events.stream", "large.write"),
}
PACED = ("paced",)
"""Upstreams whose attempts come long after their calls were offered: no measure of a storm."""
PERCENT = 30
BROKEN = "/broken"


def tools(**changed: Any) -> dict[str, Any]:
    """The section; `changed` replaces keys of notes.write."""
    definitions: dict[str, dict[str, Any]] = {
        "search.read": {"effect": "read", "path": "/search"},
        "notes.write": {"effect": "write", "path": "/notes", **changed},
        "paced.read": {
            "effect": "read",
            "upstream": "paced",
            "path": "/paced",
            "rate": {"per_second": 10, "burst": 5},
            "max_concurrency": 4,
            "max_waiting": 20,
        },
        "events.stream": {
            "effect": "read",
            "upstream": "heavy",
            "path": "/events",
            "stream": True,
            "stream_idle_ms": 2000,
        },
        "large.write": {"effect": "write", "upstream": "heavy", "path": "/large"},
    }
    for name, price in PRICES.items():
        definitions[name]["cost_usd"] = price / 1_000_000
    return {"allowlist": [*PRICES], "timeouts_ms": {"default": 1000}, "definitions": definitions}


def policy(url: str, **sections: Any) -> dict[str, Any]:
    return {
        "runtime": {"env": {"AGENT_MAX_TOOL_CALLS": MAX_TOOL_CALLS, "AGENT_MAX_SECONDS": 600}},
        "runs": {"max_usd": MAX_USD},
        "tools": tools(),
        "upstreams": {name: {"url": url, "circuit_breaker": {"open_ms": 2000}} for name in UPSTREAMS},
        "agents": {
            "billing": {"max_actions_per_hour": MAX_ACTIONS},
            "scout": {"max_calls_per_tool": {"notes.write": MAX_DAILY_WRITES}, "max_spend_usd_per_day": MAX_DAILY_USD},
            "default": {},
        },
        "rollout": {"canary_percent": PERCENT, "rollback_on_error_rate": 0.05, "min_calls": 20},
        **sections,
    }


def candidate(content: int) -> dict[str, Any]:
    """One of many, each another content: what was rolled back is not tried again."""
    broken: dict[str, Any] = {"path": BROKEN, "timeout_ms": 500 + content}
    return (
        {"tools": tools(**broken)}
        if content % 2
        else {"tools": tools(timeout_ms=500 + content) | {"denylist": ["notes.*"]}}
    )


BAD_POLICY = {"tools": {"allowlist": 7}}
