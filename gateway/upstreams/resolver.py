"""Name look-ups: fresh for each new connection, never cached here, both address families."""

import asyncio
import socket
from ipaddress import ip_address

from gateway.upstreams.addresses import Address, plain


class Resolver:
    """Asks the system's resolver. Tests give answers of their own by overriding `lookup`."""

    async def addresses(self, host: str) -> list[Address]:
        """Every address of a host in the system's order; an IP literal is its own address. Raises OSError where the look-up fails."""
        try:
            return [ip_address(host)]
        except ValueError:
            pass
        answers = [plain(ip_address(text)) for text in await self.lookup(host)]
        return list(dict.fromkeys(answers))

    async def lookup(self, host: str) -> list[str]:
        """Raises OSError (socket.gaierror) where there is no answer, also for a name that cannot be encoded."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, "the name cannot be encoded") from error
        return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]
