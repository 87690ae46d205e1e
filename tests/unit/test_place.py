import pytest

from gateway.place import parse_place


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("valkey://cache:6379/0", "valkey://cache:6379/0"),
        ("valkey://cache", "valkey://cache:6379/0"),
        ("redis://[::1]:7000/3", "redis://[::1]:7000/3"),
        ("valkeys://cache:6380?ca_file=/etc/ca.pem", "valkeys://cache:6380/0"),
        ("rediss://gateway:hunter2@cache:6380/1", "rediss://cache:6380/1"),
        ("valkey://:hunter2@cache", "valkey://cache:6379/0"),
    ],
)
def test_a_place_is_shown_without_who_asks(text: str, shown: str) -> None:
    place = parse_place(text)
    assert str(place) == repr(place) == f"{place}" == shown


def test_user_and_password_may_hold_any_sign() -> None:
    place = parse_place("valkey://the%40gateway:p%3Ass%2Fw%25rd@cache")
    assert (place.username, place.password) == ("the@gateway", "p:ss/w%rd")


def test_a_file_of_authorities_belongs_to_tls() -> None:
    assert parse_place("valkeys://cache?ca_file=/etc/ca.pem").ca_file == "/etc/ca.pem"
    assert parse_place("valkeys://cache").tls
    assert not parse_place("redis://cache").tls


@pytest.mark.parametrize(
    "text",
    [
        "valkey:", "valkey://", "valkey:///0", "valkey://cache:port", "valkey://cache:99999", "valkey://cache/x", "valkey://cache/-1",
        "valkey://cache/1/2", "valkey://cache#0", "valkey://cache?db=1", "valkey://cache?ca_file=/ca.pem", "valkeys://cache?ca_file=",
        "valkey://hunter2@cache", "http://cache", "valkey://[::1", "valkey://cache?hunter2",
    ],
)  # fmt: skip
def test_what_is_no_place_is_told_the_form_and_nothing_of_itself(text: str) -> None:
    with pytest.raises(ValueError, match="valkey://") as error:
        parse_place(text)
    assert "hunter2" not in str(error.value)
