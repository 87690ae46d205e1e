"""The image without an engine: the Dockerfile's own steps, then its command as process 1, as its user, on a read-only root."""

import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import zipfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from tests.deploy.container import UID, VOLUME, Container, Image, built
from tests.deploy.dockerfile import FINAL, ROOT
from tests.deploy.stack import clean_environment, within_seconds

pytestmark = [
    pytest.mark.needs("unshare", "nsenter", "setpriv", "mount", "chroot", "ip", "gcc"),
    pytest.mark.skipif(
        not Path(sysconfig.get_path("include"), "Python.h").exists(),
        reason="compiles: needs Python's headers (python3-dev)",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="mounts a root file system of its own: needs root"),
]


def healthy(container: Container) -> bool:
    return container.execute(*FINAL.health_command()).returncode == 0


def asked(container: Container, path: str) -> dict[str, object]:
    program = f"import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:8081{path}').read().decode())"
    done = container.execute("python", "-c", program)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def it_runs_as_process_1_without_any_right_on_a_read_only_root(running: Container) -> None:
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{running.pid}/status").read_text().splitlines())

    assert status["NSpid"].split()[-1] == "1"
    assert status["Uid"].split() == [str(UID)] * 4
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")} == {0}
    assert asked(running, "/readyz")["degraded"] == []
    for path in ("/", "/tmp", "/opt/tool-gateway", "/etc/tool-gateway/policies"):
        assert "Read-only file system" in running.execute("touch", f"{path}/x").stderr
    assert running.execute("ls", "-A", VOLUME).stdout.split()[0] == "gateway.db"


def its_own_commands_reach_it(running: Container) -> None:
    """Without a token they say what is missing; there is none in the image."""
    assert running.execute("tool-gateway", "check").returncode == 0
    assert "no admin token" in running.execute("tool-gateway", "status").stderr


def it_is_compiled(running: Container) -> None:
    assert running.execute("tool-gateway", "--version").stdout.endswith(" (compiled)\n")
    assert "/gateway__mypyc." in Path(f"/proc/{running.pid}/maps").read_text()


def nothing_to_build_or_install_with_is_left(running: Container) -> None:
    installed = json.loads(running.execute("cat", "/opt/tool-gateway/sbom.cdx.json").stdout)["components"]
    locked = set(re.findall(r"^([a-z0-9][a-z0-9._-]*)==", (ROOT / "requirements-otel.lock").read_text(), re.MULTILINE))

    assert {"aiohttp", "uvloop", "opentelemetry-sdk"} <= {each["name"] for each in installed} <= locked
    for module in ("pip", "setuptools", "hatchling", "mypy"):
        assert f"No module named {module}" in running.execute("python", "-m", module).stderr


def the_bill_of_materials_is_cyclonedx_and_names_what_is_installed(running: Container) -> None:
    bill = json.loads(running.execute("cat", "/opt/tool-gateway/sbom.cdx.json").stdout)
    schemas = files("cyclonedx.schema").joinpath("_res")

    def retrieve(uri: str) -> dict[str, Any]:
        name = uri.rpartition("/")[2]
        return dict(json.loads(schemas.joinpath(name).read_text()))

    schema = json.loads(schemas.joinpath("bom-1.6.SNAPSHOT.schema.json").read_text())
    jsonschema_rs.validator_for(schema, retriever=retrieve, validate_formats=True).validate(bill)
    program = "from importlib.metadata import distributions as d; print(*sorted(f'{x.name.lower()}=={x.version}' for x in d()))"
    named = [f"{each['name']}=={each['version']}" for each in (*bill["components"], bill["metadata"]["component"])]
    assert (
        sorted(named)
        == running.execute("/opt/tool-gateway/bin/python", "-I", "-c", program).stdout.replace("_", "-").split()
    )
    assert all(each["externalReferences"][0]["hashes"] for each in bill["components"])


def sigterm_ends_it_in_order(image: Image) -> None:
    with image.container(GATEWAY_DRAIN_IDLE_SECONDS="0") as container:
        within_seconds(lambda: healthy(container))
        os.kill(container.pid, signal.SIGTERM)

        assert container.ended() == (0, "")


def sigterm_is_not_lost_while_it_starts(image: Image) -> None:
    """The kernel hands process 1 only signals that it handles: what came too early would be waited for until the kill."""
    with image.container() as container:
        serving = False
        while not handles(container, signal.SIGTERM):
            serving = listens(container)
        os.kill(container.pid, signal.SIGTERM)

        assert container.ended() == (0, "")
    assert not serving


def handles(container: Container, number: signal.Signals) -> bool:
    caught = re.search(r"^SigCgt:\t(\w+)$", Path(f"/proc/{container.pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def listens(container: Container) -> bool:
    """Anywhere: only the gateway's sockets are in there."""
    return " 0A " in Path(f"/proc/{container.pid}/net/tcp").read_text()


def a_platform_that_says_where_spans_go_does_not_keep_it_from_starting(image: Image) -> None:
    with image.container(OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4318") as container:
        within_seconds(lambda: healthy(container))


def the_processes_it_starts_are_waited_for(image: Image) -> None:
    """A large policy is compiled in another one: nothing is left of it, so that no init is needed to reap."""
    policy = image.folder / "policies/policy.yaml"
    policy.parent.mkdir()  # open to the image's user, unlike the one above
    tools = [f"tool-{n}.read" for n in range(4000)]
    policy.write_text(json.dumps({"tools": {"allowlist": tools}}))
    with image.container(policies=policy.parent) as container:
        within_seconds(lambda: healthy(container))
        before = asked(container, "/readyz")
        policy.write_text(json.dumps({"tools": {"allowlist": tools, "retries": {"max": "many"}}}))
        within_seconds(lambda: asked(container, "/readyz") != before)

        assert asked(container, "/readyz")["degraded"] == ["policy_rejected"]
        assert set(container.states()) == {1}


def the_compiled_code_does_what_its_sources_do(image: Image) -> None:
    """By the same tests. `make compiled` runs more of them."""
    package = image.folder / "package"
    (wheel,) = (image.folder / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(package)
    command = [str(Path(sys.executable).with_name("pytest")), "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-o", f"pythonpath={package}", *TOLD_APART],
        cwd=ROOT,
        env=clean_environment(PYTHONPATH=str(package)),
        capture_output=True,
        text=True,
    )
    assert "gateway: compiled\n" in done.stdout
    assert done.returncode == 0, done.stdout


def a_volume_that_cannot_be_written_fails_the_start_and_says_so(image: Image) -> None:
    with image.container(volume=False) as container:
        code, said = container.ended()

    assert code == 2
    assert said == (
        f"tool-gateway: GATEWAY_STATE: {VOLUME}/gateway.db cannot be opened for writing (Read-only file system):"
        " let the gateway's user write there, or set GATEWAY_STATE to another sqlite:PATH\n"
    )


TOLD_APART = [
    "tests/doors/test_both_lanes.py",
    "tests/doors/test_lane.py",
    "tests/doors/test_lane_forms.py",
    "tests/unit/guards",
    "tests/unit/pipeline",
    "tests/unit/state",
    "tests/unit/test_version.py",
]
"""Tests that know most ways of a call."""

OF_A_RUNNING_ONE = (
    it_runs_as_process_1_without_any_right_on_a_read_only_root,
    it_is_compiled,
    its_own_commands_reach_it,
    nothing_to_build_or_install_with_is_left,
    the_bill_of_materials_is_cyclonedx_and_names_what_is_installed,
)
OF_THE_IMAGE = (
    sigterm_ends_it_in_order,
    sigterm_is_not_lost_while_it_starts,
    a_platform_that_says_where_spans_go_does_not_keep_it_from_starting,
    the_processes_it_starts_are_waited_for,
    a_volume_that_cannot_be_written_fails_the_start_and_says_so,
    the_compiled_code_does_what_its_sources_do,
)


def test_the_image_is_built_as_written_and_keeps_its_promises(
    tmp_path: Path, subtests: pytest.Subtests, pytestconfig: pytest.Config
) -> None:
    """One test, since to build takes two minutes, and tests that share a fixture may be run by several processes."""
    patience = float(pytestconfig.getini("faulthandler_timeout"))
    faulthandler.dump_traceback_later(4 * patience, exit=True)  # it compiles, beside other tests
    with built(tmp_path) as image:
        with image.container() as container:
            within_seconds(lambda: healthy(container))
            for running in OF_A_RUNNING_ONE:
                faulthandler.dump_traceback_later(patience, exit=True)  # each step may take as long as another's test
                with subtests.test(running.__name__):
                    running(container)
        for promise in OF_THE_IMAGE:
            faulthandler.dump_traceback_later(patience, exit=True)
            with subtests.test(promise.__name__):
                promise(image)
