"""The gateway's own listening sockets: no call may come back in through them, whatever the policy allows."""

import socket
from collections.abc import Iterable

from gateway.upstreams.addresses import Address, plain


class Listeners:
    """Where the gateway itself listens, as (address, port). An unspecified address stands for every address of this machine."""

    def __init__(self, listening: Iterable[tuple[Address, int]] = ()) -> None:
        self._exact: set[tuple[Address, int]] = set()
        self._ports: set[int] = set()
        self._everywhere: set[int] = set()
        for address, port in listening:
            self.add(address, port)

    def add(self, address: Address, port: int) -> None:
        """One more, once it is bound."""
        address = plain(address)
        self._exact.add((address, port))
        self._ports.add(port)
        if address.is_unspecified:
            self._everywhere.add(port)

    def own(self, address: Address, port: int) -> bool:
        """Would dialling this reach the gateway itself?"""
        address = plain(address)
        if (address, port) in self._exact:
            return True
        if address.is_unspecified:  # dialling 0.0.0.0 reaches this machine
            return port in self._ports
        return port in self._everywhere and _on_this_machine(address)


def _on_this_machine(address: Address) -> bool:
    """Only an address of this machine can be bound."""
    if address.is_loopback:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
    return True


NO_LISTENERS = Listeners()
