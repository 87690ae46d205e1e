"""The image's promises, read from the Dockerfile: no engine is needed. What can run here (health check, package) runs."""

import fnmatch
import json
import os
import re
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path

from gateway.settings import read_settings
from tests.deploy.stack import GatewayProcess

ROOT = Path(__file__).resolve().parents[2]


def instructions() -> list[tuple[str, str]]:
    """(keyword, the rest) in order, continuation lines joined, comments gone."""
    lines = [
        line for line in (ROOT / "Dockerfile").read_text().splitlines() if line.strip() and not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(keyword, rest.strip()) for keyword, _, rest in (line.partition(" ") for line in joined.splitlines())]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for keyword, rest in instructions():
        if keyword == "FROM":
            found.append([])
        found[-1].append((keyword, rest))
    return found


BUILD, FINAL = stages()


def values(stage: list[tuple[str, str]], keyword: str) -> list[str]:
    return [rest for found, rest in stage if found == keyword]


def environment() -> dict[str, str]:
    return dict(word.partition("=")[::2] for line in values(FINAL, "ENV") for word in shlex.split(line))


def health_command() -> list[str]:
    (line,) = values(FINAL, "HEALTHCHECK")
    command = json.loads(line.partition("CMD ")[2])
    assert command[0] == "python"
    return [sys.executable, *command[1:]]


def test_the_process_is_not_root() -> None:
    assert values(FINAL, "USER") == ["10001:10001"]
    after = [keyword for keyword, _ in FINAL[[keyword for keyword, _ in FINAL].index("USER") + 1 :]]
    assert not {"RUN", "COPY", "ADD"} & set(after)


def test_only_packages_with_known_hashes_are_installed() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install ([^&]*)", " && ".join(values(BUILD, "RUN")))

    assert len(installs) == 3
    for arguments in installs:
        assert "--require-hashes" in arguments or "--no-index" in arguments
    assert all(
        "install" not in line.replace("install -d", "").replace("uninstall", "") for line in values(FINAL, "RUN")
    )


def test_the_final_stage_takes_the_finished_environment_and_nothing_to_build_with() -> None:
    copied = values(FINAL, "COPY")

    assert copied == ["--from=build /opt/tool-gateway /opt/tool-gateway", "policies /etc/tool-gateway/policies"]
    assert values(FINAL, "ADD") == []


def test_what_is_copied_exists_and_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    sources = {
        source
        for stage in (BUILD, FINAL)
        for line in values(stage, "COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    }

    assert "*" in ignored
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)


def test_no_secret_stands_in_the_image() -> None:
    assert not [rest for keyword, rest in instructions() if keyword == "ARG"]
    names = [name for line in values(BUILD, "ENV") + values(FINAL, "ENV") for name in re.findall(r"(\w+)=", line)]
    assert names
    assert not [name for name in names if re.search("TOKEN|SECRET|PASSWORD|KEY|CREDENTIAL", name)]
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for private in ("var/admin_token", ".env", ".git/config", "deploy/secrets/admin_token"):
        assert not any(fnmatch.fnmatch(private, pattern) or private.startswith(pattern + "/") for pattern in allowed)


def test_the_gateway_takes_the_settings_of_the_image() -> None:
    settings = read_settings({name: value for name, value in environment().items() if name.startswith("GATEWAY_")})

    (volume,) = values(FINAL, "VOLUME")
    assert settings.state.startswith(f"sqlite:{volume}/")
    assert values(FINAL, "WORKDIR") == [volume]
    assert values(FINAL, "EXPOSE") == [f"{settings.listen.port} {settings.admin_listen.port}"]
    assert settings.listen.host == settings.admin_listen.host == "0.0.0.0"
    assert settings.policy in values(FINAL, "COPY")[-1]


def test_the_container_stops_by_the_signal_that_drains() -> None:
    assert values(FINAL, "STOPSIGNAL") == ["SIGTERM"]
    # Exec form: a shell as process 1 would not pass the signal on.
    assert json.loads(values(FINAL, "ENTRYPOINT")[0]) == ["tool-gateway"]
    assert json.loads(values(FINAL, "CMD")[0]) == ["serve"]


def test_the_health_check_passes_while_the_gateway_answers(running_gateway: GatewayProcess) -> None:
    env = {**os.environ, "GATEWAY_ADMIN_LISTEN": f"0.0.0.0:{running_gateway.admin.port}"}

    assert subprocess.run(health_command(), env=env, timeout=30).returncode == 0


def test_the_health_check_fails_where_nothing_answers() -> None:
    env = {**os.environ, "GATEWAY_ADMIN_LISTEN": "0.0.0.0:9"}

    assert subprocess.run(health_command(), env=env, timeout=30, stderr=subprocess.DEVNULL).returncode == 1


def test_the_package_holds_the_whole_gateway_and_its_command(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
    ]
    subprocess.run([*command, str(tmp_path), str(ROOT)], check=True, timeout=120)

    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("gateway/")}
        points = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("entry_points.txt"))
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "gateway").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed == sources
    assert "tool-gateway = gateway.cli:main" in points
