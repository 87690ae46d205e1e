"""A policy folder as the kubelet writes it: files are links into ..data, a link to a folder that is exchanged whole."""

import json
import os
from pathlib import Path

from tests.deploy.stack import GatewayProcess, ask, within_seconds

OPEN = "tools: {allowlist: [search.read]}\n"
CLOSED = "tools: {allowlist: []}\n"


class Volume:
    """A projected volume of ConfigMaps. `write` is what the kubelet does when one of them has changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._count = 0

    def write(self, **files: str) -> None:
        self._count += 1
        written = self.folder / f"..2026_11_22_12_00_{self._count:02}.123"
        written.mkdir()
        for name, text in files.items():
            (written / f"{name}.yaml").write_text(text)
        before = self.folder / "..data"
        old = before.readlink() if before.is_symlink() else None
        (self.folder / "..data_tmp").symlink_to(written.name)
        (self.folder / "..data_tmp").rename(before)  # the one step in which all changes
        for name in files:
            if not (link := self.folder / f"{name}.yaml").is_symlink():
                link.symlink_to(f"..data/{name}.yaml")
        for link in self.folder.glob("*.yaml"):
            if link.stem not in files:
                link.unlink()
        if old is not None:
            for file in (self.folder / old).iterdir():
                file.unlink()
            (self.folder / old).rmdir()


def test_policy_and_kill_switch_change_while_it_runs(tmp_path: Path) -> None:
    volume = Volume(tmp_path / "volume")
    volume.write(policy=OPEN, kill_switch="disable_all: false\n")
    with GatewayProcess(tmp_path / "gateway", environment={"GATEWAY_POLICY": str(volume.folder)}) as gateway:

        def reason() -> object:
            return ask(gateway.data, "POST", "/tools/search.read", {})[1]["reason"]

        assert reason() == "upstream_failed"  # allowed; nobody is there
        volume.write(policy=OPEN, kill_switch="disable_all: true\nreason: an incident\n")
        within_seconds(lambda: reason() == "kill_switch")
        volume.write(policy=CLOSED)  # the second ConfigMap is gone
        within_seconds(lambda: reason() == "tool_not_allowed")
        volume.write(policy="tools: {allowlist: 7}\n")
        within_seconds(lambda: "policy_rejected" in ask(gateway.admin, "GET", "/readyz")[1]["degraded"])
        assert reason() == "tool_not_allowed"
        volume.write(policy=OPEN)
        within_seconds(lambda: reason() in ("upstream_failed", "circuit_open"))

    told = [json.loads(line) for line in (tmp_path / "gateway/log").read_text().splitlines()]
    assert [line["event"] for line in told if line["event"] == "policy_rejected"] == ["policy_rejected"]
    assert not os.path.lexists(volume.folder / "kill_switch.yaml")
