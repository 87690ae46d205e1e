import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.hosts import BaseUrl, is_own, read_host, read_url

FULL_WIDTH = "\uff11\uff12\uff17.0.0.1"
TWO_WAYS = [
    "http://u@a",
    "http://u:p@a",
    "http://a?q",
    "http://a#f",
    "http://a/%2e%2e",
    "http://a/b/../c",
    "http://a//b",
    "http://a b",
]
TWO_WAYS += [
    "http://a\\b",
    "http://a\n",
    "http://a;b.com@c",
    "http://-a",
    "http://a..b",
    "http://.",
    "http://[::1",
    "http://[fe80::1%25eth0]",
]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://tools.internal", BaseUrl("http", "tools.internal", 80, "")),
        ("HTTPS://Tools.Internal.:8443/v1/", BaseUrl("https", "tools.internal", 8443, "/v1")),
        ("http://127.0.0.1:9000/", BaseUrl("http", "127.0.0.1", 9000, "")),
        ("http://[::1]:9000", BaseUrl("http", "::1", 9000, "")),
        ("https://bücher.example", BaseUrl("https", "xn--bcher-kva.example", 443, "")),
        ("http://a_service:1", BaseUrl("http", "a_service", 1, "")),
    ],
)
def test_an_upstreams_url_has_one_form(text: str, url: BaseUrl) -> None:
    assert read_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tools",
        "//tools",
        "ftp://tools",
        "http://",
        "http://:80",
        "http://a:0",
        "http://a:99999",
        "http://a:x",
        "http://a:",
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="http or https URL"):
        read_url(text)


@pytest.mark.parametrize("text", TWO_WAYS)
def test_what_could_be_read_two_ways_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^(?!.*(u:p|eth0))"):
        read_url(text)


@pytest.mark.parametrize(
    "text",
    [
        "0x7f000001",
        "2130706433",
        "127.1",
        "010.0.0.1",
        "127.0.0.1.",
        "0x7f.1",
        "1.2.3.4.5",
        FULL_WIDTH,
        "::ffff:7f00:1%lo",
    ],
)
def test_an_odd_spelling_of_an_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="canonical"):
        read_host(text)


@given(st.text(max_size=30))
def test_reading_a_host_or_url_fails_in_one_way_only(text: str) -> None:
    for read in (read_host, read_url):
        try:
            read(text)
        except ValueError as error:
            assert type(error) is ValueError  # noqa: PT017  most texts are refused, none may fail otherwise


OWN = frozenset([("127.0.0.1", 8080), ("0.0.0.0", 8081), ("gateway.local", 8082)])


@pytest.mark.parametrize(
    ("host", "port", "own"),
    [
        ("127.0.0.1", 8080, True),
        ("localhost", 8080, True),
        ("x.localhost", 8080, True),
        ("0.0.0.0", 8080, True),
        ("::", 8080, True),
        ("127.0.0.2", 8080, False),
        ("127.0.0.1", 8083, False),
        ("tools.internal", 8080, False),
        ("127.0.0.2", 8081, True),
        ("::1", 8081, True),
        ("::ffff:127.0.0.1", 8081, True),
        ("tools.internal", 8081, False),
        ("gateway.local", 8082, True),
    ],
)
def test_the_gateways_own_listeners_are_recognised(host: str, port: int, own: bool) -> None:
    assert is_own(host, port, OWN) is own
