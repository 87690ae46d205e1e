import os
from pathlib import Path

import pytest

from gateway.policy.reading import Reading, Unreadable, look_again


def why(path: Path) -> str:
    with pytest.raises(Unreadable) as refused:
        Reading().content(path, 100)
    return str(refused.value)


def test_what_is_no_regular_file_is_refused_and_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")  # opening one that nobody writes to blocks for ever
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert why(tmp_path / "fifo") == "is not a regular file"
    assert why(tmp_path) == "is not a regular file"
    assert why(Path("/dev/zero")) == "is not a regular file"
    assert why(tmp_path / "none") == "does not exist"
    assert why(tmp_path / "loop").startswith("cannot be read (")
    assert why(Path("a\0b")) == "is not a path"


def test_no_more_is_read_than_asked_for(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 1000)
    assert len(Reading().content(tmp_path / "file", 100)) == 101


def test_content_counts_and_time_does_not(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    reading = Reading()
    reading.content(file, 100)
    file.write_text("one")
    os.utime(file, (1, 1))
    assert look_again(reading.seen) == reading.seen
    before = file.stat()
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert look_again(reading.seen) != reading.seen


def test_a_file_that_goes_or_comes_is_a_change(tmp_path: Path) -> None:
    reading = Reading()
    with pytest.raises(Unreadable):
        reading.content(tmp_path / "later", 100)
    assert reading.names(tmp_path) == ()
    assert look_again(reading.seen) == reading.seen
    (tmp_path / "later").write_text("")
    assert look_again(reading.seen) != reading.seen
    assert Reading().names(tmp_path) == ("later",)


def test_hidden_files_and_those_left_out_are_no_change(tmp_path: Path) -> None:
    reading = Reading()
    reading.names(tmp_path, frozenset(["other"]))
    (tmp_path / ".policy.yaml.swp").write_text("")
    (tmp_path / "other").write_text("")
    assert look_again(reading.seen) == reading.seen
    assert Reading().names(tmp_path) == ("other",)
