"""git: a clone from where it is let out to, and from where it is not. The site serves the repository's files as they are."""

from pathlib import Path

import pytest

from tests.clients.conftest import Way
from tests.clients.everyday import command
from tests.clients.site import Site

pytestmark = pytest.mark.needs("git")
WHO = ("-c", "user.name=n", "-c", "user.email=e@example.com", "-c", "init.defaultBranch=main")


async def git(*words: str) -> str:
    code, out, complaint = await command("git", *WHO, *words)
    assert code == 0, complaint
    return out.decode()


@pytest.fixture
async def repository(there: Site, tmp_path: Path) -> str:
    """The path of one on the site; its only commit says "one"."""
    made = tmp_path / "made"
    await git("init", str(made))
    await git("-C", str(made), "commit", "--allow-empty", "--message", "one")
    await git("-C", str(made), "update-server-info")
    for file in (made / ".git").rglob("*"):
        if file.is_file():
            there.pages[f"/made.git/{file.relative_to(made / '.git')}"] = file.read_bytes()
    return "/made.git"


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_clone(there: Site, way: Way, repository: str, tmp_path: Path, scheme: str) -> None:
    way.set_environment()
    url = there.https if scheme == "https" else there.http
    await git("clone", url + repository, str(tmp_path / "clone"))
    assert await git("-C", str(tmp_path / "clone"), "log", "--format=%s") == "one\n"
    first, *others = [(record.status, record.agent_id) for record in way.running.seen.records]
    assert first == (407, "default")  # it does not say who it is before it is asked
    assert {agent for _, agent in others} <= {"browser-agent"}


async def test_another_host_is_refused(way: Way, tmp_path: Path) -> None:
    way.set_environment()
    code, _, told = await command("git", "clone", "https://elsewhere.example/made.git", str(tmp_path / "clone"))
    assert code == 128
    assert " 403" in told
