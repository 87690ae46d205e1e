"""Who takes writes just now: found by the client library's own Sentinel and Cluster support, anew for each connection.

What is said over a connection is link.py's and store.py's.
"""

import random
import socket
from contextlib import suppress
from functools import partial
from pathlib import Path

from valkey.asyncio import Sentinel, ValkeyCluster
from valkey.asyncio.cluster import ClusterNode
from valkey.asyncio.connection import Connection, SSLConnection
from valkey.asyncio.sentinel import MasterNotFoundError
from valkey.exceptions import ValkeyClusterException, ValkeyError

from gateway.place import Node, Place

ASKED_WITHIN = 0.3
"""Seconds for each Sentinel, or node of a cluster, that is asked where the primary is."""
FAILURES = (OSError, ValkeyError)
"""All that `connect` raises, and the connection that it returns."""
_SILENCE = {
    getattr(socket, name): seconds
    for name, seconds in (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 3))
    if hasattr(socket, name)
}
"""A subscription hears nothing for hours: the kernel finds out whether anyone is still there."""


class NoPrimary(ValkeyError):
    """One sentence part: why nobody is known to be it."""


class NoPassword(ValkeyError):
    """One sentence part: why it is not known."""


async def connect(place: Place) -> Connection:
    """An open connection to whoever is said to be the primary: its `host` and `port`. Raises one of FAILURES, after as long as the caller
    waits for it.
    """
    node = await find(place)
    options = place.options
    kind = (
        partial(
            SSLConnection,
            ssl_ca_certs=options.get("ca_file"),
            ssl_certfile=options.get("client_cert_file"),
            ssl_keyfile=options.get("client_key_file"),
            ssl_check_hostname=True,  # the library's default takes any name
        )
        if place.tls
        else Connection
    )
    connection = kind(
        host=node.host,
        port=node.port,
        db=0 if place.topology == "cluster" else place.db,
        username=place.username,
        password=_password(place),
        socket_timeout=None,
        socket_keepalive=True,
        socket_keepalive_options=_SILENCE,
        lib_name=None,
        lib_version=None,
    )
    try:
        await connection.connect()  # type: ignore[no-untyped-call]  # the client has no types there
    except BaseException:
        await disconnect(connection)
        raise
    return connection


async def disconnect(connection: Connection) -> None:
    """At once."""
    with suppress(*FAILURES):
        await connection.disconnect(nowait=True)


async def find(place: Place) -> Node:
    """It need not be the primary any more: that shows with the first write. Raises NoPrimary."""
    match place.topology:
        case "sentinel":
            return await _by_sentinels(place)
        case "cluster":
            return await _by_cluster(place)
        case _:
            return place.nodes[0]


async def _by_sentinels(place: Place) -> Node:
    """As the first one of them says that answers and knows it."""
    options = place.options
    tls = {
        "ssl": True,
        "ssl_ca_certs": options.get("ca_file"),
        "ssl_certfile": options.get("client_cert_file"),
        "ssl_keyfile": options.get("client_key_file"),
        "ssl_check_hostname": True,
    }
    common = {
        "username": options.get("sentinel_username"),
        "password": options.get("sentinel_password") or _from_file(place, "sentinel_password_file"),
        "socket_timeout": ASKED_WITHIN,
        "socket_connect_timeout": ASKED_WITHIN,
        "lib_name": None,
        "lib_version": None,
    }
    asked = Sentinel(place.nodes, sentinel_kwargs=common | (tls if place.tls else {}))  # type: ignore[no-untyped-call]  # no types there
    try:
        host, port = await asked.discover_master(place.name)
    except MasterNotFoundError:
        raise NoPrimary(f"has no Sentinel that answers and knows a living primary {place.name}") from None
    finally:
        for sentinel in asked.sentinels:
            await sentinel.aclose()
    return Node(str(host), int(port))


async def _by_cluster(place: Place) -> Node:
    """The one with the slot of all the gateways' keys."""
    options, nodes = place.options, [ClusterNode(node.host, node.port) for node in place.nodes]
    random.shuffle(nodes)  # one that is cut off from the others answers, too, and is not to be asked each time
    cluster = ValkeyCluster(
        startup_nodes=nodes,
        require_full_coverage=False,
        connection_error_retry_attempts=0,
        username=place.username,
        password=_password(place),
        socket_timeout=ASKED_WITHIN,
        socket_connect_timeout=ASKED_WITHIN,
        lib_name=None,
        lib_version=None,
        ssl=place.tls,
        ssl_ca_certs=options.get("ca_file"),
        ssl_certfile=options.get("client_cert_file"),
        ssl_keyfile=options.get("client_key_file"),
        ssl_check_hostname=True,
    )
    known = cluster.nodes_manager  # the client's own start would read a description of every command, too
    try:
        await known.initialize()
        node = cluster.get_node_from_key(place.key("tgw:"))
    except ValkeyClusterException as error:
        if isinstance(error.__cause__, ValkeyError):
            raise error.__cause__ from None
        raise NoPrimary("has no node that answers for the gateways' keys as a cluster does") from None
    finally:
        await known.aclose()
        await known.aclose("startup_nodes")
    if node is None:
        raise NoPrimary("has no node for the gateways' keys")
    return Node(node.host, int(node.port))


def _password(place: Place) -> str | None:
    return place.password or _from_file(place, "password_file")


def _from_file(place: Place, option: str) -> str | None:
    """What the file holds now: it is read for each connection, since it may have been replaced. Raises NoPassword."""
    path = place.options.get(option)
    if path is None:
        return None
    try:
        password = Path(path).read_text("utf-8").rstrip("\r\n")
    except (OSError, ValueError):
        password = ""
    if not password:
        raise NoPassword(f"cannot be asked, since {option} holds no password that can be read")
    return password
