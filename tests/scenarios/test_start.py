"""The incident: a gateway that did not start, and a wall of traceback between the operator and the one line that said why."""

import re
import signal
import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

import aiohttp
import pytest

from tests.deploy.stack import TOKEN
from tests.doors.tool_server import ToolServer
from tests.scenarios.installation import Installation, call, ended


def setting(name: str, value: str) -> Callable[[Installation], None]:
    def spoil(installation: Installation) -> None:
        installation.environment[name] = value.format(folder=installation.folder)

    return spoil


def policy(text: str) -> Callable[[Installation], None]:
    def spoil(installation: Installation) -> None:
        (installation.policies / "policy.yaml").write_text(text)

    return spoil


def no_policy(installation: Installation) -> None:
    (installation.policies / "policy.yaml").unlink()


def bad_switches(installation: Installation) -> None:
    (installation.policies / "kill_switch.yaml").write_text("disable_al: true")


def state_below_a_file(installation: Installation) -> None:
    (installation.folder / "file").touch()
    installation.environment["GATEWAY_STATE"] = f"sqlite:{installation.folder}/file/gateway.db"


def state_of_another_program(installation: Installation) -> None:
    (installation.folder / "gateway.db").write_text("These are my notes. " * 100)


def missing_secret(installation: Installation) -> None:
    upstream = {"url": "http://127.0.0.1:9", "headers": {"X-Key": "${env:NOT_SET}"}}
    installation.write_policy({"tools": {"allowlist": []}, "upstreams": {"search": upstream}})


OBSTACLES = {
    "unknown variable": (setting("GATEWAY_POLICI", "x"), "GATEWAY_POLICI: no such variable; the nearest is GATEWAY_POLICY"),
    "bad value": (setting("GATEWAY_DRAIN_SECONDS", "soon"), 'GATEWAY_DRAIN_SECONDS: expected a number of seconds .* got "soon"'),
    "bad budget": (setting("AGENT_MAX_STEPS", "0"), "AGENT_MAX_STEPS: expected an integer 1"),
    "store that is none": (setting("GATEWAY_STATE", "mysql://h:1/0"), "GATEWAY_STATE: expected memory:, sqlite:PATH or valkey://"),
    "no policy": (no_policy, r"policy\.yaml.*(no such file|does not exist|missing)"),
    "policy with a mistake": (
        policy("tools:\n  allowlist: []\n  retries:\n    max: two\n"),
        r'policy\.yaml:4:5 tools\.retries\.max: expected an integer 0\.\.10, got "two"',
    ),
    "switches with a mistake": (bad_switches, r"kill_switch\.yaml:1:1 disable_al: .*disable_all"),
    "secret that is not there": (missing_secret, r"policy\.yaml:1:\d+ upstreams\.search\.headers\.X-Key: .*NOT_SET"),
    "state that cannot be written": (state_below_a_file, "GATEWAY_STATE: .* cannot be "),
    "state that is another program's": (state_of_another_program, "GATEWAY_STATE: .*gateway.db is (not|another)"),
    "log that cannot be written": (setting("GATEWAY_LOG", "{folder}/nowhere/log"), "GATEWAY_LOG: .*nowhere/log"),
    "token file that is not there": (
        lambda installation: installation.environment.update(
            GATEWAY_ADMIN_TOKEN="", GATEWAY_ADMIN_TOKEN_FILE="no/token"
        ),
        "GATEWAY_ADMIN_TOKEN_FILE: no/token: no such file or directory",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "line"), OBSTACLES.values(), ids=OBSTACLES)
async def test_a_start_that_cannot_be_ends_with_one_line(
    installation: Installation, spoil: Callable[[Installation], Any], line: str
) -> None:
    spoil(installation)
    end = await installation.run("serve")
    assert_refused(end.code, end.out, end.err, line)


@pytest.mark.parametrize("variable", ["GATEWAY_LISTEN", "GATEWAY_ADMIN_LISTEN"])
async def test_a_port_that_is_taken(installation: Installation, variable: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        address = "{}:{}".format(*other.getsockname())
        installation.environment[variable] = address
        end = await installation.run("serve")
    assert_refused(end.code, end.out, end.err, f"{variable}: cannot listen on {address}: address already in use")


async def test_a_second_gateway_on_the_same_state_file_is_refused_and_the_first_goes_on(
    installation: Installation,
) -> None:
    await installation.begin()
    second = Installation(installation.folder / "second", installation.upstream)
    second.environment["GATEWAY_STATE"] = installation.settings()["GATEWAY_STATE"]
    end = await second.run("serve")
    assert_refused(end.code, end.out, end.err, "GATEWAY_STATE: .*gateway.db .*another (process|gateway)")
    async with installation.agent() as agent:
        assert await call(agent, "search.read", "r1") == (200, "ok")


async def test_all_that_is_wrong_with_a_policy_is_said_at_once_a_line_each(installation: Installation) -> None:
    policy("tools:\n  allowlist: 7\n  retries: {max: -1}\nmod: enforce\n")(installation)
    end = await installation.run("serve")
    places = [re.match(r"tool-gateway: policy\.yaml:(\d+):(\d+) ", line) for line in end.err.splitlines()]
    assert end.code == 2
    assert [place.groups() for place in places if place] == [("2", "3"), ("3", "13"), ("4", "1")]
    assert len(places) == 3


async def test_the_first_call_is_answered_as_soon_as_the_gateway_is_ready(
    installation: Installation, tool: ToolServer
) -> None:
    """With the state where it is by default: in a folder that is not there yet."""
    installation.environment["GATEWAY_STATE"] = ""
    process = await installation.begin()
    async with installation.agent() as agent:
        assert await call(agent, "search.read", "r1") == (200, "ok")
    assert tool.calls == 1
    assert (installation.folder / "var" / "gateway.db").stat().st_mode & 0o777 == 0o600
    end = await ended(process, signal.SIGTERM)
    assert (end.code, end.out, end.err) == (0, "", "")


async def test_both_planes_listen_on_unix_sockets(installation: Installation) -> None:
    data, admin = installation.folder / "data.sock", installation.folder / "admin.sock"
    installation.environment |= {"GATEWAY_LISTEN": f"unix:{data}", "GATEWAY_ADMIN_LISTEN": f"unix:{admin}"}

    async def serves() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(data))) as agent:
            async with agent.post("http://localhost/tools/search.read", json={}) as answer:
                assert answer.status == 200
            async with agent.get("http://localhost/v1/status", headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
                assert answer.status == 403
        status = await installation.run("status")
        assert (status.code, status.err) == (0, "")
        assert f"admin plane  unix:{admin}" in status.out

    process = await installation.begin()
    await serves()
    second = await installation.run("serve")
    assert_refused(second.code, second.out, second.err, "GATEWAY_STATE: ")
    installation.environment["GATEWAY_STATE"] = "memory:"
    second = await installation.run("serve")
    assert_refused(
        second.code, second.out, second.err, f"GATEWAY_ADMIN_LISTEN: cannot listen on unix:{admin}: address already"
    )
    await serves()
    await ended(process, signal.SIGKILL)
    assert data.exists()
    await installation.begin()  # what a killed process left behind is in nobody's way
    await serves()


async def test_a_file_that_is_no_socket_is_not_removed_to_listen_there(installation: Installation) -> None:
    notes = installation.folder / "notes"
    notes.write_text("important")
    installation.environment["GATEWAY_LISTEN"] = f"unix:{notes}"
    end = await installation.run("serve")
    assert_refused(end.code, end.out, end.err, f"GATEWAY_LISTEN: cannot listen on unix:{notes}: file exists")
    assert notes.read_text() == "important"


def assert_refused(code: int, out: str, err: str, line: str) -> None:
    assert (code, out) == (2, "")
    assert re.fullmatch(f"tool-gateway: .*{line}.*\n", err), err
