"""What a release consists of: a source distribution that builds the same wheel, and a wheel that works in an empty environment."""

import re
import signal
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.deploy.stack import ask, clean_environment, free_address, wait_until_ready

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder


def wheel_of(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def oldest_allowed() -> list[str]:
    """Of each package that the project asks for, the version its bound names."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return [re.sub(r"^([\w-]+)>=([\w.]+).*", r"\1==\2", line) for line in asked]


def content(wheel: Path) -> dict[str, int]:
    with zipfile.ZipFile(wheel) as packed:
        return {entry.filename: entry.CRC for entry in packed.infolist()}


def test_the_wheel_holds_the_whole_gateway_and_its_command_and_nothing_else(release: Path) -> None:
    with zipfile.ZipFile(wheel_of(release)) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        points = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("entry_points.txt"))
    files = [path for path in (ROOT / "gateway").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert packed == {path.relative_to(ROOT).as_posix() for path in files}
    assert "tool-gateway = gateway.cli:main" in points


def test_the_source_distribution_builds_the_same_wheel(release: Path, tmp_path: Path) -> None:
    (packed,) = release.glob("*.tar.gz")
    with tarfile.open(packed) as sources:
        sources.extractall(tmp_path / "sources", filter="data")
    (folder,) = (tmp_path / "sources").iterdir()
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "again")]
    subprocess.run(command, cwd=folder, check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert content(wheel_of(tmp_path / "again")) == content(wheel_of(release))


def test_the_source_distribution_holds_no_state_no_token_and_nothing_built(release: Path) -> None:
    (packed,) = release.glob("*.tar.gz")
    with tarfile.open(packed) as sources:
        paths = [Path(name).parts[1:] for name in sources.getnames()]
    kept_out = {"var", ".venv", "node_modules", "__pycache__", ".git", "dist", ".hypothesis", "secrets"}
    assert [path for path in paths if kept_out & set(path)] == []


def hatchling(call: str, **switches: str) -> list[str]:
    """Asked as pip asks it."""
    command = [sys.executable, "-c", f"from hatchling import build; print(build.{call})"]
    done = subprocess.run(
        command, cwd=ROOT, env=clean_environment(**switches), capture_output=True, text=True, check=True, timeout=60
    )
    return re.findall(r"[\w.-]+", done.stdout)


def test_only_a_compiled_wheel_needs_what_compiles() -> None:
    ask = "get_requires_for_build_wheel()"
    assert hatchling(ask) == []
    assert {"mypy", "setuptools", "aiohttp"} <= set(hatchling(ask, HATCH_BUILD_HOOKS_ENABLE="1"))


def test_a_checkout_is_never_compiled(tmp_path: Path) -> None:
    """It would hide the next change of a source."""
    (wheel,) = hatchling(f"build_editable({str(tmp_path)!r})", HATCH_BUILD_HOOKS_ENABLE="1")
    assert wheel.endswith("-none-any.whl")


def test_an_empty_environment_has_a_working_gateway_after_pip_install(release: Path, tmp_path: Path) -> None:
    """With the oldest of what it needs: all other tests run with the newest."""
    commands = tmp_path / "empty/bin"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(commands.parent)], check=True, timeout=120)
    pip = [sys.executable, "-m", "pip", "--python", str(commands / "python"), "--disable-pip-version-check", "install"]
    install = [*pip, "--quiet", "--no-compile", str(wheel_of(release)), *oldest_allowed()]
    subprocess.run(install, check=True, timeout=300)

    home = tmp_path / "home"
    home.mkdir()
    data, admin = free_address(), free_address()
    settings = {"GATEWAY_LISTEN": str(data), "GATEWAY_ADMIN_LISTEN": str(admin), "GATEWAY_LOG": str(home / "log")}
    environment = clean_environment(**settings)
    gateway = str(commands / "tool-gateway")
    subprocess.run([gateway, "init"], cwd=home, env=environment, check=True, timeout=60, stdout=subprocess.DEVNULL)
    subprocess.run([gateway, "check"], cwd=home, env=environment, check=True, timeout=60, stdout=subprocess.DEVNULL)
    mistyped = subprocess.run([gateway, "chek"], env=environment, capture_output=True, text=True, timeout=60)
    assert (mistyped.returncode, mistyped.stderr.count("\n")) == (2, 1), mistyped.stderr
    with subprocess.Popen(
        [gateway, "serve"], cwd=home, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        wait_until_ready(admin, process)
        status, refused = ask(data, "POST", "/runs/r/tools/shell.run")
        process.send_signal(signal.SIGINT)
    assert (status, refused["reason"]) == (403, "tool_not_allowed")
    assert process.returncode == 0
