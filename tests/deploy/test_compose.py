"""deploy/compose.yaml: the agent's only way out is the gateway, and nothing secret stands in the file."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.settings import VARIABLES, read_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def networks(service: str) -> set[str]:
    return set(SERVICES[service]["networks"])


def environment(service: str) -> dict[str, str]:
    return {name: str(value) for name, value in SERVICES[service].get("environment", {}).items()}


def test_the_agent_and_the_tools_share_no_network() -> None:
    assert networks("agent")
    assert networks("tools")
    assert not networks("agent") & networks("tools")


def test_the_agents_networks_have_no_route_out() -> None:
    assert all(COMPOSE["networks"][name]["internal"] is True for name in networks("agent"))


def test_only_the_gateway_is_on_both_networks() -> None:
    assert networks("gateway") == networks("agent") | networks("tools")
    assert SERVICES.keys() == {"agent", "tools", "gateway"}


@pytest.mark.parametrize("service", SERVICES)
def test_no_service_can_leave_its_networks(service: str) -> None:
    assert not SERVICES[service].keys() & {
        "network_mode",
        "privileged",
        "cap_add",
        "pid",
        "ipc",
        "devices",
        "links",
        "extra_hosts",
    }


def test_the_agents_network_does_not_reach_the_admin_plane() -> None:
    assert read_settings(environment("gateway")).admin_listen.host == "127.0.0.1"


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_published_is_published_to_this_host_only(service: str) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


def test_the_gateway_takes_the_settings_it_is_given() -> None:
    settings = read_settings(environment("gateway"))

    assert settings.upstream == "http://tools:9000"
    assert settings.budgets == {"AGENT_MAX_STEPS": 25, "AGENT_MAX_TOOL_CALLS": 12, "AGENT_MAX_SECONDS": 60}


def test_secrets_come_from_files() -> None:
    secret = {name for name, variable in VARIABLES.items() if variable.secret} - {"GATEWAY_UPSTREAM", "GATEWAY_STATE"}

    for service in SERVICES:
        assert not environment(service).keys() & secret
    assert environment("gateway")["GATEWAY_ADMIN_TOKEN_FILE"] == "/run/secrets/admin_token"
    assert SERVICES["gateway"]["secrets"] == ["admin_token"]
    assert all(secret.keys() == {"file"} for secret in COMPOSE["secrets"].values())
    assert "deploy/secrets/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_gateway_may_end_its_calls_before_it_is_killed() -> None:
    grace = SERVICES["gateway"]["stop_grace_period"]

    assert float(grace.removesuffix("s")) > read_settings(environment("gateway")).drain_seconds


@pytest.mark.parametrize("service", SERVICES)
def test_containers_have_no_more_rights_than_they_need(service: str) -> None:
    assert SERVICES[service]["read_only"] is True
    assert SERVICES[service]["cap_drop"] == ["ALL"]
    assert SERVICES[service]["security_opt"] == ["no-new-privileges:true"]
    assert SERVICES[service].get("user", "10001").split(":")[0] not in ("0", "root")


def test_state_outlives_the_container_and_policy_is_a_read_only_folder() -> None:
    mounts = {
        target.split(":")[0]: (source, target)
        for source, target in (v.split(":", 1) for v in SERVICES["gateway"]["volumes"])
    }

    assert mounts["/var/lib/tool-gateway"][0] in COMPOSE["volumes"]
    source, target = mounts["/etc/tool-gateway/policies"]
    assert target.endswith(":ro")
    assert (ROOT / "deploy" / source).is_dir()


def test_the_agent_waits_for_a_healthy_gateway() -> None:
    assert SERVICES["agent"]["depends_on"] == {"gateway": {"condition": "service_healthy"}}
    assert environment("agent")["TOOL_BASE_URL"] == "http://gateway:8080"
    assert all("healthcheck" in SERVICES[service] for service in ("agent", "tools"))
