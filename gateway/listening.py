"""What a listener needs of the machine: sockets, and descriptors for those who connect. What is served there is not known here."""

import asyncio
import errno
import os
import resource
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from gateway.settings import Address

BACKLOG = 1024
"""Connections the kernel holds while the loop is busy."""
SPARE_DESCRIPTORS = 256
"""For upstream connections of a first burst, files, the admin plane and the loop itself."""


class StartError(Exception):
    """One or more lines for whoever started the process; it exits 2."""


async def listen(address: Address, variable: str, protocol: Callable[[], asyncio.BaseProtocol]) -> asyncio.Server:
    """A server on the address. Raises StartError naming the variable."""
    loop = asyncio.get_running_loop()
    try:
        if address.path is not None:
            remove_stale_socket(address.path)  # create_unix_server removes any, also one in use
            return await loop.create_unix_server(protocol, address.path, backlog=BACKLOG)
        return await loop.create_server(protocol, address.host, address.port, backlog=BACKLOG)
    except socket.gaierror:
        raise StartError(f"{variable}: cannot listen on {address}: the host name has no address here") from None
    except OSError as error:
        raise StartError(f"{variable}: cannot listen on {address}: {os.strerror(error.errno or 0).lower()}") from None


def url_of(server: asyncio.Server) -> str:
    """http://host:port of a TCP listener, unix:PATH of another."""
    name = server.sockets[0].getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"http://{Address(name[0], name[1])}"


def remove_stale_socket(path: str) -> None:
    """A socket file that nobody listens on any more is in the way. Raises OSError where somebody does, or it is no socket."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise OSError(errno.EEXIST, "not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)  # one whose backlog is full is in use, too
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink()
            return
        except BlockingIOError:
            pass
    raise OSError(errno.EADDRINUSE, "in use")


def raise_descriptor_limit(max_connections: int) -> int:
    """Raises the soft limit of open files to what the connections need; where it cannot, the bound it allows (SPEC 1)."""
    wanted = 2 * max_connections + SPARE_DESCRIPTORS  # each call may hold a connection to its upstream
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted or soft == resource.RLIM_INFINITY:
        return max_connections
    granted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (granted, hard))
    return min(max_connections, max(1, (granted - SPARE_DESCRIPTORS) // 2))


def too_few_descriptors(asked: int, granted: int) -> str:
    """Why there will be `overloaded` earlier than the settings say."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"GATEWAY_MAX_CONNECTIONS: lowered from {asked} to {granted}, since this process may open only {limit} files;"
        f" raise that limit (ulimit -n) to {2 * asked + SPARE_DESCRIPTORS}"
    )
