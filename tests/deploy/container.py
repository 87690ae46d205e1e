"""The image, built by image_builder.py, and containers of it: namespaces, a read-only root and the image's user, without an engine."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.dockerfile import FINAL, ROOT
from tests.deploy.image_builder import PATH

ENVIRONMENT = {name: text.replace("$PATH", PATH) for name, text in FINAL.environment.items()}
(VOLUME,) = FINAL.values("VOLUME")
UID, GID = (int(part) for part in FINAL.values("USER")[0].split(":"))


@dataclass
class Container:
    """`pid` is its process 1, as it is called out here."""

    process: "subprocess.Popen[str]"
    pid: int

    def execute(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """As `docker exec` does."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--root"]
        return subprocess.run([*enter, *as_the_image(command, {})], capture_output=True, text=True, timeout=60)

    def ended(self) -> tuple[int, str]:
        """Its exit code, and what it said on stderr."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said

    def states(self) -> dict[int, str]:
        """Of all its processes, by their number inside: R, S, Z, …"""
        processes = [each for each in Path(f"/proc/{self.pid}/root/proc").iterdir() if each.name.isdigit()]
        return {int(each.name): (each / "stat").read_text().rpartition(") ")[2][0] for each in processes}


@dataclass
class Image:
    """`keeper` is in whose mount namespace it is."""

    keeper: int
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / "image/root"

    @contextmanager
    def container(
        self, *command: str, policies: Path | None = None, volume: bool = True, **settings: str
    ) -> Iterator[Container]:
        """Runs the image's own command, or another one. `policies` is mounted over its own; without `volume` there is none to write to."""
        lines = [f"ip link set lo up && mount -t proc proc {self.root}/proc && mount --rbind /dev {self.root}/dev"]
        if volume:
            lines.append(f"mount -t tmpfs -o uid={UID},gid={GID},mode=0700 tmpfs {self.root}{VOLUME}")
        if policies is not None:
            lines.append(f"mount --bind {policies} {self.root}{ENVIRONMENT['GATEWAY_POLICY']}")
        lines.append(f"exec chroot {self.root} {shlex.join(as_the_image(command or FINAL.command(), settings))}")
        apart = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", " && ".join(lines)]
        process = subprocess.Popen(
            ["nsenter", f"--target={self.keeper}", "--mount", *apart],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        container = Container(process, only_child(process))
        try:
            yield container
        finally:
            with suppress(ProcessLookupError):
                os.kill(container.pid, signal.SIGKILL)  # and with it all that is in there
            process.communicate(timeout=20)


def as_the_image(command: "tuple[str, ...] | list[str]", settings: Mapping[str, str]) -> list[str]:
    """By its user, without any right, with its variables, in its folder."""
    become = ["setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups"]
    rights = ["--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    known = [f"{name}={text}" for name, text in {**ENVIRONMENT, **settings}.items()]
    return [*become, *rights, "env", "-i", "-C", FINAL.values("WORKDIR")[0], *known, *command]


def only_child(process: "subprocess.Popen[str]") -> int:
    """Of `unshare --fork`: process 1 in there."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not (found := children.read_text().split()):
        assert process.poll() is None, process.communicate()
    return int(found[0])


@contextmanager
def built(folder: Path) -> Iterator[Image]:
    command = ["unshare", "--mount", sys.executable, "-m", "tests.deploy.image_builder", str(folder)]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as keeper:
        assert keeper.stdout is not None
        assert keeper.stderr is not None
        assert keeper.stdin is not None
        if keeper.stdout.readline() != "built\n":
            raise AssertionError(keeper.stderr.read())
        yield Image(keeper.pid, folder)
        keeper.stdin.close()
