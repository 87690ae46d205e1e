"""A password of the store's that stands in a file, and is changed while gateways run."""

import asyncio
import time
from pathlib import Path

from gateway.place import parse_place
from gateway.state.stores.valkey.fleet import Fleet
from tests.fleet.topologies import ask
from tests.fleet.valkey_server import ValkeyServer
from tests.scenarios.installation import PATIENCE

RIGHTS = ("on", "~tgw:*", "&tgw:*", "+@all")


async def test_a_new_password_is_taken_from_the_file_with_the_next_connection(
    valkey: ValkeyServer, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("old one\n")
    place = parse_place(f"valkey://gateway@127.0.0.1:{valkey.port}/0?password_file={file}")
    fleet = Fleet(place, time.time)
    async with asyncio.timeout(PATIENCE):
        await ask(valkey.client(), "ACL", "SETUSER", "gateway", *RIGHTS, ">old one")
        running = asyncio.create_task(fleet.run())
        await fleet.ready.wait()
        for changed, ends in (("", "holds no password"), ("mistyped", "refuses the user or password"), ("new one", "")):
            file.write_text(changed)
            await ask(valkey.client(), "ACL", "SETUSER", "gateway", "resetpass", ">new one")
            await ask(valkey.client(), "CLIENT", "KILL", "USER", "gateway")
            while ends not in (fleet.problem or "") or fleet.up != (not ends):  # noqa: ASYNC110  what another process did sets no event of ours
                await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
