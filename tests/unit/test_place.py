import re
from pathlib import Path

import pytest

from gateway.place import Node, parse_place, state_shared


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("valkey://cache:6379/0", "valkey://cache:6379/0"),
        ("valkey://cache", "valkey://cache:6379/0"),
        ("redis://[::1]:7000/3", "redis://[::1]:7000/3"),
        ("valkeys://cache:6380?ca_file=/etc/ca.pem", "valkeys://cache:6380/0"),
        ("rediss://gateway:hunter2@cache:6380/1", "rediss://cache:6380/1"),
        ("valkey://:hunter2@cache", "valkey://cache:6379/0"),
        ("valkey+sentinel://a,b:7000/mymaster", "valkey+sentinel://a:26379,b:7000/mymaster/0"),
        ("rediss+sentinel://u:hunter2@[::1],b/my.master-1/2?sentinel_password=hunter2", "rediss+sentinel://[::1]:26379,b:26379/my.master-1/2"),
        ("valkey+cluster://a:7000,[::1]:7001", "valkey+cluster://a:7000,[::1]:7001/0"),
        ("valkeys+cluster://u:hunter2@a/3", "valkeys+cluster://a:6379/3"),
    ],
)  # fmt: skip
def test_a_place_is_shown_without_who_asks(text: str, shown: str) -> None:
    place = parse_place(text)
    assert str(place) == repr(place) == f"{place}" == shown


def test_user_and_password_may_hold_any_sign() -> None:
    place = parse_place("valkey://the%40gateway:p%3Ass%2Fw%25rd@cache")
    assert (place.username, place.password) == ("the@gateway", "p:ss/w%rd")


def test_sentinels_have_a_user_of_their_own() -> None:
    place = parse_place("valkey+sentinel://u:p@a,b/m?sentinel_username=s&sentinel_password=p%26w")
    assert (place.username, place.password, place.name) == ("u", "p", "m")
    assert place.options == {"sentinel_username": "s", "sentinel_password": "p&w"}
    assert place.nodes == (Node("a", 26379), Node("b", 26379))


def test_a_password_may_stand_in_a_file() -> None:
    place = parse_place(
        "valkey+sentinel://gateway@a/m?password_file=/p&sentinel_username=asking&sentinel_password_file=/s"
    )
    assert (place.username, place.password) == ("gateway", None)
    assert place.options == {"password_file": "/p", "sentinel_username": "asking", "sentinel_password_file": "/s"}
    assert parse_place("valkey://cache?password_file=/p").username is None


def test_files_of_certificates_belong_to_tls() -> None:
    assert parse_place("valkeys://cache?ca_file=/etc/ca.pem").options == {"ca_file": "/etc/ca.pem"}
    assert parse_place("rediss+cluster://a?client_cert_file=c&client_key_file=k").tls
    assert not parse_place("redis+sentinel://cache/m").tls


def test_all_keys_of_a_cluster_are_in_one_slot_and_begin_as_elsewhere() -> None:
    names = ["tgw:{scout}:run:r1", "tgw:born", "tgw:notes:version"]
    assert [parse_place("valkey+sentinel://a/m/3").key(name) for name in names] == names
    place = parse_place("valkey+cluster://a/3")
    assert [place.key(name) for name in names] == ["tgw:{3}:{scout}:run:r1", "tgw:{3}:born", "tgw:{3}:notes:version"]


def test_the_forms_of_the_guide_are_taken() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
    forms = re.findall(r"`(valkey\S*://\[\S+)`", guide)
    written = [form.replace(",…", "").replace("[", "").replace("]", "").replace("/db", "/1") for form in forms]
    assert [parse_place(text).topology for text in written] == ["", "sentinel", "cluster"]


def test_check_names_all_that_each_gateway_of_the_guide_has_by_itself() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "fleet.md").read_text()
    [(what, _)] = re.findall(r"^\| (.+) \| (each gateway by itself.+) \|$", guide, re.MULTILINE)
    by_itself = (state_shared("valkey://cache") or "").partition("Each has by itself")[2]
    named = re.findall(r"`([\w.]+)`", what)
    assert len(named) == 6
    assert [
        name for name in [*named, "calls without a run id", "repeats of governed calls"] if name not in by_itself
    ] == []


@pytest.mark.parametrize(
    "text",
    [
        "valkey:", "valkey://", "valkey:///0", "valkey://cache:port", "valkey://cache:99999", "valkey://cache/x", "valkey://cache/-1",
        "valkey://cache/1/2", "valkey://cache#0", "valkey://cache?db=1", "valkey://cache?ca_file=/ca.pem", "valkeys://cache?ca_file=",
        "valkey://hunter2@cache", "http://cache", "valkey://[::1", "valkey://cache?hunter2",
        "valkey://a,b", "valkey+sentinel://a", "valkey+sentinel://a/", "valkey+sentinel://a/my%20master", "valkey+sentinel://a/m/x",
        "valkey+sentinel://a,/m", "valkey+sentinel://a/m/0/1", "valkey+sentinel://a/m?sentinel_username=hunter2",
        "valkey+cluster://", "valkey+cluster://a,,b", "valkey+cluster://a/m", "valkey+cluster://a?sentinel_password=hunter2",
        "valkeys://a?client_cert_file=c", "valkey://u:p@a?password_file=/hunter2", "valkey://u@a?password_file=",
        "valkey+sentinel://a/m?sentinel_password=hunter2&sentinel_password_file=/p", "valkey://a?sentinel_password_file=/hunter2",
        "valkey+sentinels://a/m", "valkey+://a", "sentinel+valkey://a/m",
    ],
)  # fmt: skip
def test_what_is_no_place_is_told_the_form_and_nothing_of_itself(text: str) -> None:
    with pytest.raises(ValueError, match="valkey://") as error:
        parse_place(text)
    assert "hunter2" not in str(error.value)
