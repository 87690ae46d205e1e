"""The admin token: from the environment or a file, which may change while the gateway runs."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.admin.token import DEFAULT_FILE, AdminToken
from gateway.settings import SettingsError, read_settings


def test_the_variable_is_the_token() -> None:
    token = AdminToken.of(read_settings({"GATEWAY_ADMIN_TOKEN": "s3cret"}))
    assert token.accepts("s3cret")
    assert not token.accepts("s3cre")
    assert not token.accepts("")
    assert not token.accepts("s3cret\u0130")


def test_without_any_nobody_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    token = AdminToken.of(read_settings({}))
    assert token.current() is None
    assert not token.accepts("")


def test_the_default_file_is_used_where_neither_variable_is_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    token = AdminToken.of(read_settings({}))
    Path("var").mkdir()
    Path(DEFAULT_FILE).write_text("from-the-file\n")
    assert token.accepts("from-the-file")
    assert not AdminToken.of(read_settings({"GATEWAY_ADMIN_TOKEN": "other"})).accepts("from-the-file")


def write(path: Path, text: str) -> None:
    path.write_text(text)


def rename_over(path: Path, text: str) -> None:
    path.with_name("new").write_text(text)
    path.with_name("new").rename(path)


@pytest.mark.parametrize("change", [write, rename_over])
def test_a_changed_file_is_the_new_token_and_the_old_one_is_gone(
    tmp_path: Path, change: Callable[[Path, str], None]
) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    token = AdminToken.of(read_settings({"GATEWAY_ADMIN_TOKEN_FILE": str(path)}))
    assert token.accepts("first")
    change(path, "other")
    assert token.accepts("other")
    assert not token.accepts("first")


@pytest.mark.parametrize("content", ["", "\n", "two words", "a\nb", "ü", "\0"])
def test_a_named_file_without_a_token_stops_the_start(tmp_path: Path, content: str) -> None:
    path = tmp_path / "token"
    path.write_text(content)
    with pytest.raises(SettingsError, match=r"^GATEWAY_ADMIN_TOKEN_FILE: .*: holds no token; expected a readable file"):
        AdminToken.of(read_settings({"GATEWAY_ADMIN_TOKEN_FILE": str(path)}))


def test_a_missing_file_stops_the_start_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "none"
    with pytest.raises(SettingsError, match=rf"^GATEWAY_ADMIN_TOKEN_FILE: {path}: no such file or directory; expected"):
        AdminToken.of(read_settings({"GATEWAY_ADMIN_TOKEN_FILE": str(path)}))


def test_a_file_that_goes_away_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("first")
    token = AdminToken.of(read_settings({"GATEWAY_ADMIN_TOKEN_FILE": str(path)}))
    path.unlink()
    assert not token.accepts("first")


def test_a_named_pipe_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SettingsError, match="holds no token"):
        AdminToken.of(read_settings({"GATEWAY_ADMIN_TOKEN_FILE": str(tmp_path / "pipe")}))
