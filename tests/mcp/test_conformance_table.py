"""How `make conformance` tells that the gateway has made something worse."""

import json
from pathlib import Path

from tests.mcp.conformance.__main__ import Ending, read, worsened


def test_a_check_that_ends_worse_or_not_at_all_through_the_gateway_is_named() -> None:
    direct = {
        ("ping", "a"): Ending.SUCCESS,
        ("ping", "b"): Ending.SUCCESS,
        ("ping", "c"): Ending.FAILURE,
        ("ping", "d"): Ending.WARNING,
    }
    through = {("ping", "a"): Ending.WARNING, ("ping", "c"): Ending.FAILURE, ("ping", "d"): Ending.SUCCESS}

    assert list(worsened(direct, through)) == [
        "ping / a: SUCCESS directly, WARNING through the gateway",
        "ping / b: SUCCESS directly, MISSING through the gateway",
    ]


def test_of_a_check_made_several_times_the_worst_ending_counts(tmp_path: Path) -> None:
    folder = tmp_path / "server-tools-list-2026-11-20T10-00-00-000Z"
    folder.mkdir()
    checks = [{"id": "order", "status": status} for status in ("SUCCESS", "FAILURE", "INFO")]
    (folder / "checks.json").write_text(json.dumps(checks))

    assert read(tmp_path) == {("tools-list", "order"): Ending.FAILURE}
