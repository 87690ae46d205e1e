"""Run as a program inside new network and mount namespaces: sets them up, then hands out sockets that live there, as descriptors.

A socket stays in the namespace it was made in, whoever uses it. So tests need not run there themselves.
"""

import json
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

FORCED_RECEIVE_BUFFER = getattr(socket, "SO_RCVBUFFORCE", 33)
FILES = ("resolv.conf", "hosts", "nsswitch.conf")


def main(descriptor: int, folder: Path) -> None:
    """Serves until the other end of the socket pair closes."""
    for command in (
        "ip link set lo up",
        "ip -4 route add local default dev lo",  # every address is this machine's: what is dialled anywhere is heard here
        "ip -6 route add local default dev lo",
    ):
        subprocess.run(command.split(), check=True)
    for name in FILES:
        subprocess.run(["mount", "--bind", str(folder / name), f"/etc/{name}"], check=True)
    with socket.socket(fileno=descriptor) as asked:
        asked.send(b"ready")
        while wanted := asked.recv(4096):
            with make(**json.loads(wanted)) as made:
                socket.send_fds(asked, [b"socket"], [made.fileno()])


def make(family: int, kind: int, protocol: int, bind: list[str | int] | None) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    if family == socket.AF_PACKET:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)  # as much of it as is granted
        with suppress(PermissionError):
            made.setsockopt(socket.SOL_SOCKET, FORCED_RECEIVE_BUFFER, 8 << 20)
    if bind is not None:
        made.bind(tuple(bind))
    if kind == socket.SOCK_STREAM and bind is not None:
        made.listen(1024)
    return made


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
