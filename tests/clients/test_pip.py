"""pip in a code tool: a package from an index that is let out to, and from one that is not."""

import sys
from base64 import urlsafe_b64encode
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

from tests.clients.conftest import Authority, Way
from tests.clients.everyday import command
from tests.clients.site import Site

WHEEL = "one_thing-1.0-py3-none-any.whl"


def wheel() -> bytes:
    """The least that is one."""
    files = {
        "one_thing.py": b"",
        "one_thing-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: one-thing\nVersion: 1.0\n",
        "one_thing-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {name: urlsafe_b64encode(sha256(text).digest()).rstrip(b"=").decode() for name, text in files.items()}
    record = "".join(f"{name},sha256={digest},{len(files[name])}\n" for name, digest in digests.items())
    made = BytesIO()
    with ZipFile(made, "w") as archive:
        for name, text in {**files, "one_thing-1.0.dist-info/RECORD": record.encode()}.items():
            archive.writestr(name, text)
    return made.getvalue()


async def download(index: str, authority: Authority, into: Path) -> tuple[int, str]:
    words = ["--disable-pip-version-check", "--no-cache-dir", "--no-deps", "--retries=1", f"--cert={authority.file}"]
    words += [f"--index-url={index}/simple/", f"--dest={into}", "one-thing"]
    code, out, complaint = await command(sys.executable, "-m", "pip", "download", *words)
    return code, out.decode() + complaint


async def test_a_package_comes_through_a_tunnel(there: Site, way: Way, authority: Authority, tmp_path: Path) -> None:
    way.set_environment()
    there.pages["/simple/one-thing/"] = f'<!DOCTYPE html><a href="/files/{WHEEL}">{WHEEL}</a>'.encode()
    there.pages[f"/files/{WHEEL}"] = made = wheel()
    code, told = await download(there.https, authority, tmp_path / "into")
    assert code == 0, told
    assert (tmp_path / "into" / WHEEL).read_bytes() == made
    assert [request.line.split(" ")[1] for request in there.encrypted.requests] == [*there.pages]
    assert set(await way.tools(there.encrypted.connections)) == {"http.connect"}


async def test_another_index_is_refused_with_the_reason(way: Way, authority: Authority, tmp_path: Path) -> None:
    way.set_environment()
    code, told = await download("https://elsewhere.example", authority, tmp_path / "into")
    assert code == 1
    assert "403 Forbidden (egress_not_allowed)" in told
    assert await way.tools(2) == ["http.connect"] * 2  # which it tells of only if it may try again
