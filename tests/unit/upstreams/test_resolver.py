"""Names that no name server answers for. (What answers lead to: tests/egress/test_names.py.)"""

import asyncio
import socket
from threading import Event
from typing import Any

import pytest

from gateway.upstreams.resolver import AT_ONCE, Resolver


async def test_names_without_an_answer_keep_no_other_resolver_from_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that agents choose have a resolver of their own, and so have the upstreams of the policy (app.py)."""
    answered, real = Event(), socket.getaddrinfo

    def system(host: str, *given: Any, **named: Any) -> Any:
        if host == "silent.example":
            answered.wait(60)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return real(host, *given, **named)

    monkeypatch.setattr(socket, "getaddrinfo", system)
    theirs, ours = Resolver(), Resolver()
    silent = [asyncio.create_task(theirs.addresses("silent.example")) for _ in range(2 * AT_ONCE)]
    await asyncio.sleep(0)  # each of them has asked
    try:
        async with asyncio.timeout(10):
            assert [address for address in await ours.addresses("localhost") if address.is_loopback]
        assert not any(task.done() for task in silent)
    finally:
        answered.set()
        await asyncio.gather(*silent, return_exceptions=True)
