"""Name look-ups: fresh for each new connection, never cached here, both address families."""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from ipaddress import ip_address

from gateway.upstreams.addresses import Address, plain

AT_ONCE = 32
"""Look-ups. One that a name server leaves unanswered takes its thread for as long as the system's resolver waits, mostly 10 s or more."""


class Resolver:
    """Asks the system's resolver, in threads of its own: the loop's are so few (uvloop's two) that two names without an answer, which any
    agent may ask for, would keep every other upstream from being found. Tests give answers of their own by overriding `lookup`.
    """

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
            look_up = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except UnicodeError as error:
            raise socket.gaierror(socket.EAI_NONAME, "the name cannot be encoded") from error
        return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(AT_ONCE, "look-up")
