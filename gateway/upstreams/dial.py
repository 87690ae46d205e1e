"""Opening connections: look-up, TCP and TLS until one deadline. Each failure is an UpstreamError that says what to do.

Nothing of a call is sent here.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from gateway.model import UpstreamError
from gateway.policy.snapshot import Tls
from gateway.small_reads import SmallReads
from gateway.upstreams.addresses import Address
from gateway.upstreams.connection import Connection
from gateway.upstreams.resolver import Resolver

T = TypeVar("T")


async def look_up(resolver: Resolver, host: str, label: str, deadline: float) -> list[Address]:
    """All addresses of a host before `deadline` (loop time), or UpstreamError `dns`."""
    try:
        async with asyncio.timeout_at(deadline):
            addresses = await resolver.addresses(host)
    except TimeoutError:
        raise UpstreamError("dns", f"{label}: the name look-up took too long", sent=False) from None
    except OSError:
        raise UpstreamError("dns", f"{label}: the host name has no address", sent=False) from None
    if not addresses:
        raise UpstreamError("dns", f"{label}: the host name has no address", sent=False)
    return addresses


async def connect(
    addresses: Sequence[Address],
    port: int,
    *,
    label: str,
    deadline: float,
    tls: ssl.SSLContext | None,
    server_name: str,
) -> Connection:
    """A connection for HTTP to the first address that answers, as `dial` finds it."""

    async def open_at(address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        connection = Connection(loop, label)
        await loop.create_connection(partial(SmallReads, connection), str(address), port)
        if tls is not None:
            await connection.encrypt(tls, server_name)  # closes the connection where it fails
        return connection

    return await dial(addresses, open_at, label=label, deadline=deadline, encrypted=tls is not None)


async def dial(
    addresses: Sequence[Address],
    open_at: Callable[[Address], Awaitable[T]],
    *,
    label: str,
    deadline: float,
    encrypted: bool = False,
) -> T:
    """What `open_at` makes of the first address that answers. Each gets an equal share of the time until `deadline` (loop time).

    Raises UpstreamError with what the last of them failed of.
    """
    loop = asyncio.get_running_loop()
    failure: UpstreamError | None = None
    for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
        try:
            async with asyncio.timeout((deadline - loop.time()) / left):
                return await open_at(address)
        except OSError as error:
            failure = _explained(error, label, encrypted=encrypted)
    raise failure or UpstreamError("dns", f"{label}: the host name has no address", sent=False)


def _explained(error: OSError, label: str, *, encrypted: bool) -> UpstreamError:
    """TimeoutError and the TLS errors are OSErrors too, so the order matters."""
    match error:
        case TimeoutError():
            kind, what = "connect_timeout", "did not accept a connection in time"
        case ssl.SSLCertVerificationError():
            kind = "tls"
            what = f"showed a certificate that does not verify ({error.verify_message}); check the URL's host, or set tls.ca_file to its CA"
        case ssl.SSLError():
            kind, what = (
                "tls",
                "failed the TLS handshake; check that the port speaks TLS, and tls.client_cert_file if it asks for one",
            )
        case ConnectionRefusedError():
            kind, what = "refused", "refused the connection"
        case _ if encrypted and isinstance(error, ConnectionError):
            kind, what = "tls", "closed the connection during the TLS handshake; check that the port speaks TLS"
        case _:
            kind, what = "refused", "cannot be reached"
    return UpstreamError(kind, f"{label} {what}", sent=False)


def tls_context(tls: Tls, label: str) -> ssl.SSLContext:
    """Blocking: reads the files. Raises UpstreamError `tls` that names the key whose file is bad."""
    key = "tls.ca_file"
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        key = "tls.client_cert_file and tls.client_key_file"
        if tls.client_cert_file is not None:
            context.load_cert_chain(tls.client_cert_file, tls.client_key_file, password=_no_password)
    except (OSError, ValueError):
        raise UpstreamError(
            "tls", f"{label}: {key} cannot be loaded; check the path, its rights and that it is PEM", sent=False
        ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """OpenSSL would ask on the terminal for the password of an encrypted key."""
    return ""
