"""docs/deployment.md, line by line: what can run here runs, of what needs an engine or a cluster each word is looked at."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.cli.kubernetes import PARTS
from gateway.settings import Settings, read_settings
from tests.deploy.dockerfile import BUILD, FINAL, LOCK, ROOT
from tests.deploy.overlay import BASE, CONTAINER, DEPLOYMENT, KUBECTL
from tests.deploy.stack import clean_environment

GUIDE = (ROOT / "docs/deployment.md").read_text("utf-8")
UNIT = (ROOT / "deploy/systemd/tool-gateway.service").read_text()
COMMANDS = [
    line
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
]
CLOUD_RUN: dict[str, Any] = yaml.safe_load((ROOT / "deploy/cloud-run/service.yaml").read_text())
ECS: dict[str, Any] = json.loads((ROOT / "deploy/ecs/task.json").read_text())


def commands(*beginnings: str) -> list[str]:
    return [line for line in COMMANDS if line.startswith(beginnings)]


def options(words: list[str], name: str) -> list[str]:
    return [after for word, after in pairwise(words) if word == name]


def settings_of(variables: Mapping[str, str]) -> Settings:
    """What the image makes of them."""
    known = FINAL.environment | dict(variables)
    return read_settings({name: text for name, text in known.items() if name.startswith("GATEWAY_")})


def test_every_command_is_looked_at_by_a_test_below() -> None:
    known = (
        "docker build",
        "docker run",
        "tool-gateway",
        "kubectl",
        "install",
        "python3 -m venv",
        "/opt/",
        "(umask",
        "systemctl",
        "HATCH_BUILD_HOOKS_ENABLE=1 ",
    )

    assert COMMANDS
    assert [line for line in COMMANDS if not line.startswith(known)] == []


def test_every_file_runs_the_image_of_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    kustomization = yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())
    in_cloud = [*CLOUD_RUN["spec"]["template"]["spec"]["containers"], *ECS["containerDefinitions"]]

    assert {each["newTag"] for each in kustomization["images"]} == {version}
    assert {each["image"] for each in in_cloud if each["name"] == "tool-gateway"} == {f"tool-gateway:{version}"}


def test_images_are_built_of_what_the_dockerfile_calls_so() -> None:
    plain, lock = (shlex.split(line) for line in commands("docker build"))

    assert plain == ["docker", "build", "--tag", "tool-gateway", "."]
    assert lock == ["docker", "build", "--target", LOCK.name, "--tag", f"tool-gateway-{LOCK.name}", "."]


def test_the_container_runs_as_the_image_expects() -> None:
    (line,) = commands("docker run")
    words = shlex.split(line)
    given = [each.partition("=") for each in options(words, "--env")]
    settings = settings_of({name: text or "from-the-shell" for name, _, text in given})
    mounts = {volume.split(":")[1]: volume for volume in options(words, "--volume")}

    assert float(options(words, "--stop-timeout")[0]) > settings.drain_seconds
    assert options(words, "--publish") == [f"127.0.0.1:{port}:{port}" for port in FINAL.values("EXPOSE")[0].split()]
    assert mounts.keys() == {settings.policy, *FINAL.values("VOLUME")}
    assert mounts[settings.policy].endswith(":ro")
    assert {"--read-only", "--cap-drop"} <= set(words)
    assert settings.admin_token == "from-the-shell"  # without one nobody could operate it


def test_the_overlay_is_written_checked_and_rendered_as_the_guide_says(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base/deployment.yaml").write_text(BASE)
    (tmp_path / "base/kustomization.yaml").write_text("resources: [deployment.yaml]\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubectl").symlink_to(KUBECTL)
    (tmp_path / "bin/tool-gateway").symlink_to(Path(sys.executable).with_name("tool-gateway"))
    env = clean_environment(PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    for line in commands("tool-gateway", "kubectl kustomize"):
        done = subprocess.run(line, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), line
    assert "name: tool-gateway-egress-lock" in done.stdout
    (apply,) = commands("kubectl apply")
    assert apply.split()[-1] == commands("kubectl kustomize")[0].split()[-1]
    assert commands("tool-gateway init")[0].split()[3:7] == ["--deployment", DEPLOYMENT, "--container", CONTAINER]


def test_a_pod_is_killed_by_a_command_that_exists() -> None:
    (line,) = commands("kubectl exec")
    before, _, inside = line.partition(" -- ")
    words = shlex.split(inside)

    assert before.split()[2:] == [f"deploy/{DEPLOYMENT}", "-c", "tool-gateway"]
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *words[1:]],
        env=clean_environment(GATEWAY_ADMIN_TOKEN="x", GATEWAY_ADMIN_LISTEN="127.0.0.1:9"),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "admin plane not reachable" in done.stderr


def test_every_optional_part_of_the_overlay_has_its_row() -> None:
    assert re.findall(r"^\| `--with ([\w-]+)` \|", GUIDE, re.MULTILINE) == list(PARTS)


def test_a_host_is_installed_where_the_unit_looks(tmp_path: Path) -> None:
    for line in commands("install", "(umask"):
        elsewhere = re.sub(r"/etc/", f"{tmp_path}/etc/", line)
        (tmp_path / "etc/systemd/system").mkdir(parents=True, exist_ok=True)
        subprocess.run(elsewhere, shell=True, cwd=ROOT, check=True, timeout=20)

    token = tmp_path / "etc/tool-gateway/admin_token"
    assert token.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "etc/systemd/system/tool-gateway.service").read_text() == UNIT
    assert (tmp_path / "etc/tool-gateway/policies/policy.yaml").exists()
    for path in ("/etc/tool-gateway/policies", "/etc/tool-gateway/admin_token", "/etc/tool-gateway/environment"):
        assert re.search(rf"[=:-]{path}$", UNIT, re.MULTILINE), path
    (venv,) = commands("python3 -m venv")
    assert f"ExecStart={venv.split()[-1]}/bin/tool-gateway serve" in UNIT
    assert f"{venv.split()[-1]}/bin/tool-gateway status`" in GUIDE
    from_registry, project = (shlex.split(line)[2:] for line in commands("/opt/"))
    assert from_registry == ["--require-hashes", "-r", "requirements.lock", "-r", "requirements-build.lock"]
    assert project == ["--no-deps", "--no-build-isolation", "."]


def test_a_wheel_is_compiled_as_that_of_the_image_is() -> None:
    """Which test_image.py does. Here pip fetches what is there already then."""
    (line,) = commands("HATCH_BUILD_HOOKS_ENABLE")
    (of_the_image,) = (run for run in BUILD.values("RUN") if "HATCH_BUILD_HOOKS_ENABLE" in run)

    assert line in " ".join(of_the_image.replace("--no-build-isolation ", "").split())


def test_on_cloud_run_the_gateway_is_ready_first_and_ends_in_time() -> None:
    spec = CLOUD_RUN["spec"]["template"]
    agent, gateway = spec["spec"]["containers"]
    variables = {each["name"]: each.get("value", "valkey://a:b@cache:6379/0") for each in gateway["env"]}
    settings = settings_of(variables)
    mounts = {mount["mountPath"] for mount in gateway["volumeMounts"]}

    after = json.loads(spec["metadata"]["annotations"]["run.googleapis.com/container-dependencies"])
    assert after == {agent["name"]: [gateway["name"]]}
    assert settings.drain_seconds < 10
    assert settings.policy in mounts
    assert str(Path(settings.admin_token_file or "").parent) in mounts
    assert gateway["startupProbe"]["httpGet"] == {"path": "/readyz", "port": settings.admin_listen.port}
    assert {each["name"]: each["value"] for each in agent["env"]}["TOOL_BASE_URL"] == f"http://{settings.listen}"
    assert "volumeMounts" not in agent
    assert "ports" not in gateway


def test_on_ecs_the_gateway_is_healthy_first_and_ends_last() -> None:
    gateway, agent = ECS["containerDefinitions"]
    variables = {each["name"]: each["value"] for each in gateway["environment"]}
    secret = {"GATEWAY_ADMIN_TOKEN": "a-token", "GATEWAY_STATE": "valkey://a:b@cache:6379/0"}
    settings = settings_of(variables | {each["name"]: secret[each["name"]] for each in gateway["secrets"]})

    assert agent["dependsOn"] == [{"containerName": gateway["name"], "condition": "HEALTHY"}]
    assert gateway["healthCheck"]["command"] == ["CMD", *FINAL.health_command()]
    assert gateway["stopTimeout"] > settings.drain_seconds
    assert settings.drain_idle_seconds == 1
    assert [mount["containerPath"] for mount in gateway["mountPoints"]] == [settings.policy]
    assert gateway["user"] == FINAL.values("USER")[0] != agent["user"]
    assert {each["name"]: each["value"] for each in agent["environment"]}[
        "TOOL_BASE_URL"
    ] == f"http://{settings.listen}"
    assert "secrets" not in agent


@pytest.mark.parametrize("file", sorted(set(re.findall(r"\]\(\.\./(deploy/[^)]+)\)", GUIDE))))
def test_what_is_pointed_at_is_there(file: str) -> None:
    assert (ROOT / file).is_file()
