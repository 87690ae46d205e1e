import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.doors.paths import PathError, decoded


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/", "/"),
        ("/tools/search.read", "/tools/search.read"),
        ("/tools/search.read/", "/tools/search.read/"),
        ("/a/b.c/d", "/a/b.c/d"),
        ("/caf%C3%A9", "/café"),
        ("/a%20b", "/a b"),
        ("/%252e%252e/x", "/%2e%2e/x"),
        ("/...", "/..."),
        ("/.well-known/x", "/.well-known/x"),
        ("/a;b=c/d", "/a;b=c/d"),
    ],
)
def test_a_path_is_decoded_once(raw: str, path: str) -> None:
    assert decoded(raw) == path


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "tools",
        "/a/../b",
        "/a/..",
        "/./a",
        "/%2e%2e/a",
        "/a/%2E%2e",
        "/.%2e/a",
        "/..;/admin",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a\\b",
        "/a%00b",
        "//a",
        "/a//b",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%ff",
        "/a b",
        "/a\tb",
        "/a\x00b",
        "/é",
        "/a#b",
    ],
)
def test_what_two_servers_could_read_differently_is_refused(raw: str) -> None:
    with pytest.raises(PathError):
        decoded(raw)


@given(st.text(st.characters(codec="ascii"), max_size=30).map(lambda text: "/" + text))
def test_no_accepted_path_leaves_its_folder(raw: str) -> None:
    try:
        path = decoded(raw)
    except PathError:
        return
    segments = path.split("/")
    assert "." not in segments
    assert ".." not in segments
    assert "" not in segments[1:-1]
    assert "\\" not in path
    assert path.count("/") == raw.count("/")
