"""The init container that makes going around the gateway impossible: its script, with its rights, in a network namespace like a pod's."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.lock_probe import GATEWAY, OUTSIDE4, OUTSIDE6, POD4, POD6, TCP
from tests.deploy.stack import TOKEN, clean_environment, within_seconds

SCRIPT = Path(__file__).resolve().parents[2] / "deploy/kubernetes/egress-lock/lock.sh"
PROBE = Path(__file__).with_name("lock_probe.py")
AGENT = 10002
OWN_PORT = 9000
"""Where the agent serves its own clients."""
LISTENING, WAITING = "0A", "06"
"""States of a TCP socket: nothing is owed to anyone."""
WAYS_OUT = ("tcp4", "tcp6", "udp4", "udp6")

pytestmark = [
    pytest.mark.needs("nft", "ip", "unshare", "nsenter", "setpriv"),
    pytest.mark.skipif(os.geteuid() != 0, reason="becomes several users in a network namespace of its own: needs root"),
]


@dataclass
class Pod:
    """A network namespace whose only neighbour is the world's."""

    pid: int
    world: "subprocess.Popen[str]"
    world_pid: int

    def command(self, user: int, *command: str, rights: str = "dac_read_search") -> list[str]:
        """By this user with this right alone. The default lets it read Python, wherever that is installed; it opens nothing else."""
        only = f"-all,+{rights}"
        become = [f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs"]
        limits = [f"--inh-caps={only}", f"--ambient-caps={only}", f"--bounding-set={only}"]
        return ["nsenter", f"--target={self.pid}", "--net", "setpriv", *become, *limits, *command]

    def probe(self, user: int, used_port: int = 0) -> dict[str, str]:
        command = self.command(user, sys.executable, str(PROBE), "agent", str(used_port))
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return dict(json.loads(done.stdout))

    def lock(self) -> None:
        done = subprocess.run(
            self.command(0, "sh", str(SCRIPT), str(GATEWAY), rights="net_admin"),
            capture_output=True,
            text=True,
            timeout=20,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"egress-lock: only user {GATEWAY} leaves this network namespace\n"

    def python(self, user: int, program: str, *, outside: bool = False) -> str:
        command = self.command(user, sys.executable, "-c", program)
        if outside:
            command[1] = f"--target={self.world_pid}"
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    def arrived(self) -> list[str]:
        """What came to the outside, until now. Ends the outside."""
        self.world.terminate()
        out, _ = self.world.communicate(timeout=20)
        return [line for line in out.splitlines() if line.startswith("came")]


@contextmanager
def namespace() -> Iterator[int]:
    """The process that keeps it."""
    with subprocess.Popen(["unshare", "--net", "cat"], stdin=subprocess.PIPE) as holder:
        ours = Path("/proc/self/ns/net").readlink()
        while Path(f"/proc/{holder.pid}/ns/net").readlink() == ours:
            time.sleep(0.005)
        yield holder.pid
        assert holder.stdin is not None
        holder.stdin.close()


def wire(pod: int, world: int) -> None:
    inside, outside = f"nsenter --target={pod} --net ip", f"nsenter --target={world} --net ip"
    for line in (
        f"{inside} link set lo up",
        f"{inside} link add eth0 type veth peer name eth0 netns {world}",
        f"{inside} addr add {POD4}/24 dev eth0",
        f"{inside} addr add {POD6}/64 dev eth0 nodad",
        f"{inside} link set eth0 up",
        f"{outside} addr add {OUTSIDE4}/24 dev eth0",
        f"{outside} addr add {OUTSIDE6}/64 dev eth0 nodad",
        f"{outside} link set eth0 up",
    ):
        subprocess.run(line.split(), check=True)


@pytest.fixture
def pod() -> Iterator[Pod]:
    with ExitStack() as stack:
        inside, outside = stack.enter_context(namespace()), stack.enter_context(namespace())
        wire(inside, outside)
        command = ["nsenter", f"--target={outside}", "--net", sys.executable, str(PROBE), "world"]
        world = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        stack.callback(world.kill)
        assert world.stdout is not None
        for _ in range(4):
            assert world.stdout.readline().startswith("ready")
        yield Pod(inside, world, outside)


def test_without_the_lock_everyone_gets_out(pod: Pod) -> None:
    """Or the other tests would prove nothing."""
    found = pod.probe(AGENT)

    assert [found[way] for way in WAYS_OUT] == ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "answer", "answer"]
    assert len(pod.arrived()) == 5  # with the one from a port of choice


def test_with_the_lock_nothing_of_the_agents_gets_out(pod: Pod) -> None:
    pod.lock()
    asking = f"import sys; sys.path.insert(0, {str(PROBE.parent)!r}); import lock_probe; print(lock_probe.udp({OUTSIDE4!r}, 40123))"
    assert pod.python(GATEWAY, asking) == "answer"

    for user in (AGENT, 65534):
        found = pod.probe(user, used_port=40123)
        assert not [way for way, became in found.items() if not became.endswith("Error")], found
        assert not [way for way in WAYS_OUT if found[way] == "TimeoutError"], found  # told at once
    assert pod.arrived() == [f"came udp {OUTSIDE4} {GATEWAY}"]


def test_the_lock_can_be_set_again_and_root_in_the_pod_is_locked_in_as_well(pod: Pod) -> None:
    pod.lock()
    pod.lock()
    found = pod.probe(0)

    assert [found[way] for way in WAYS_OUT if not found[way].endswith("Error")] == []
    assert pod.arrived() == []


def test_the_gateway_gets_out(pod: Pod) -> None:
    pod.lock()
    found = pod.probe(GATEWAY)

    assert [found[way] for way in WAYS_OUT] == ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK", "answer", "answer"]


def test_no_connection_of_the_gateways_is_left_half_open_outside(pod: Pod) -> None:
    """The last packets are the kernel's: those of a socket that is closed belong to no user."""
    pod.lock()
    pod.python(GATEWAY, f"import socket; socket.create_connection(({OUTSIDE4!r}, {TCP})).close()")

    within_seconds(lambda: states_outside(pod) <= {LISTENING, WAITING})


def states_outside(pod: Pod) -> set[str]:
    """Of all TCP sockets there."""
    _, *sockets = Path(f"/proc/{pod.world_pid}/net/tcp").read_text().splitlines()
    return {line.split()[3] for line in sockets}


def test_the_agent_is_served_through_the_gateway_and_serves_its_own_clients(pod: Pod, tmp_path: Path) -> None:
    pod.lock()
    (tmp_path / "policy.yaml").write_text(json.dumps({"tools": {"allowlist": ["search.read"]}}))
    settings = {
        "GATEWAY_POLICY": str(tmp_path),
        "GATEWAY_UPSTREAM": f"http://{OUTSIDE4}:{TCP}",
        "GATEWAY_STATE": "memory:",
        "GATEWAY_ADMIN_TOKEN": TOKEN,
    }
    serve, own = [sys.executable, "-m", "gateway", "serve"], [sys.executable, "-m", "http.server", str(OWN_PORT)]
    with ExitStack() as stack:
        for user, command, env in ((GATEWAY, serve, clean_environment(**settings)), (AGENT, own, clean_environment())):
            process = stack.enter_context(
                subprocess.Popen(
                    pod.command(user, *command),
                    env=env,
                    cwd=tmp_path,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
            stack.callback(process.kill)
        call = "urllib.request.Request('http://127.0.0.1:8080/tools/search.read', b'{}', {'Content-Type': 'application/json'})"
        assert eventually(pod, AGENT, call, outside=False) == "200"
        assert eventually(pod, AGENT, f"'http://{POD4}:{OWN_PORT}/policy.yaml'", outside=True) == "200"
    assert pod.arrived() == [f"came tcp {OUTSIDE4}"]


def eventually(pod: Pod, user: int, request: str, *, outside: bool) -> str:
    """The status of a request, once somebody listens there."""
    program = f"""
import time, urllib.error, urllib.request
end = time.monotonic() + 20
while True:
    try:
        print(urllib.request.urlopen({request}, timeout=10).status)
        break
    except urllib.error.HTTPError as error:
        print(error.status, error.read())
        break
    except OSError:
        assert time.monotonic() < end
        time.sleep(0.05)
"""
    return pod.python(user, program, outside=outside)


@pytest.mark.parametrize("arguments", [[], ["0"], ["gateway"], ["10001; accept"]])
def test_a_user_that_is_none_locks_nothing_and_fails(pod: Pod, arguments: list[str]) -> None:
    done = subprocess.run(
        pod.command(0, "sh", str(SCRIPT), *arguments, rights="net_admin"), capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (2, "usage: egress-lock UID (a number, the gateway's user; not 0)\n")


def test_without_the_right_to_the_pod_does_not_start(pod: Pod) -> None:
    done = subprocess.run(pod.command(0, "sh", str(SCRIPT), str(GATEWAY)), capture_output=True, text=True)

    assert done.returncode != 0
