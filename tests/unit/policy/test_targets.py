from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model import Target
from gateway.policy.snapshot import Egress
from gateway.policy.targets import authority, follow, host_allowed, parse_target, parse_tunnel, written


def egress(*rules: str) -> Egress:
    return Egress(
        hosts=frozenset(rule for rule in rules if "*" not in rule),
        suffixes=frozenset(rule[2:] for rule in rules if rule.startswith("*.")),
        any_host="*" in rules,
        ports=frozenset({80, 443}),
        allow_private=(),
    )


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://example.com", Target("http", "example.com", 80, "/")),
        ("https://example.com", Target("https", "example.com", 443, "/")),
        ("HTTPS://Example.COM./A/B?c=D", Target("https", "example.com", 443, "/A/B?c=D")),
        ("http://example.com:8080?x", Target("http", "example.com", 8080, "/?x")),
        ("http://example.com/a/../b/%2e%2E//c", Target("http", "example.com", 80, "/a/../b/%2e%2E//c")),
        ("http://example.com/a#fragment", Target("http", "example.com", 80, "/a")),
        ("http://example.com#fragment", Target("http", "example.com", 80, "/")),
        ("http://bücher.example/", Target("http", "xn--bcher-kva.example", 80, "/")),
        ("http://\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.com/", Target("http", "example.com", 80, "/")),
        ("http://xn--bcher-kva.example/", Target("http", "xn--bcher-kva.example", 80, "/")),
        ("http://192.0.2.1/", Target("http", "192.0.2.1", 80, "/")),
        ("http://[2001:DB8:0::1]:81/", Target("http", "2001:db8::1", 81, "/")),
        ("http://[::ffff:127.0.0.1]/", Target("http", "127.0.0.1", 80, "/")),
        ("http://[::FFFF:7f00:1]/", Target("http", "127.0.0.1", 80, "/")),
        ("http://de.example/wiki/Müller?q=ß", Target("http", "de.example", 80, "/wiki/M%C3%BCller?q=%C3%9F")),
        ("http://example.com/a\\b", Target("http", "example.com", 80, "/a\\b")),
    ],
)
def test_a_url_has_one_form(url: str, target: Target) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "not absolute"),
        ("/path", "not absolute"),
        ("example.com", "not absolute"),
        ("//example.com/", "not absolute"),
        ("http:example.com", "not absolute"),
        ("file:///etc/passwd", "neither http nor https"),
        ("gopher://example.com/", "neither http nor https"),
        ("ws://example.com/", "neither http nor https"),
        ("http://user:secret@example.com/", "user-info"),
        ("http://@example.com/", "user-info"),
        ("http://allowed.example\\@evil.example/", "user-info"),
        ("http://allowed.example\\.evil.example/", "not a host name"),
        ("http:///path", "not a host name"),
        ("http://:80/", "not a host name"),
        ("http://a..b/", "not a host name"),
        ("http://exa mple.com/", "blank"),
        (" http://example.com/", "blank"),
        ("http://example.com/a b", "blank"),
        ("http://example.com/\r\nHost: evil", "control"),
        ("http://example.com/\x00", "control"),
        ("http://example.com/\x85", "control"),
        ("http://ex\tample.com/", "control"),
        ("http://example.com:0/", "port"),
        ("http://example.com:65536/", "port"),
        ("http://example.com:99999999/", "port"),
        ("http://example.com:/", "port"),
        ("http://example.com:\uff18\uff10/", "port"),
        ("http://example.com:80:80/", "port"),
        ("http://%65xample.com/", "percent-encoded"),
        ("http://127.0.0.1%2f@/", "user-info"),
        ("http://2130706433/", "canonical"),
        ("http://0x7f000001/", "canonical"),
        ("http://0x7f.1/", "canonical"),
        ("http://0177.0.0.1/", "canonical"),
        ("http://127.1/", "canonical"),
        ("http://127.0.0.1./", "canonical"),
        ("http://127.0.0.0x1/", "canonical"),
        ("http://①②⑦.⓪.⓪.①/", "canonical"),
        ("http://\uff11\uff12\uff17.\uff10.\uff10.\uff11/", "canonical"),
        ("http://127。0。0。1/", "canonical"),
        ("http://999.1.1.1/", "canonical"),
        ("http://[::1/", "malformed"),
        ("http://::1/", "malformed"),
        ("http://[::1]x/", "malformed"),
        ("http://[fe80::1%25eth0]/", "IPv6|zone"),
        ("http://[fe80::1%eth0]/", "zone"),
        ("http://[v1.x]/", "IPv6"),
        ("http://[127.0.0.1]/", "IPv6"),
        ("http://example.com/\udce9", "Unicode"),
        ("http://" + "a" * 64 + ".example/", "not a host name"),
        ("http://" + "a." * 127 + "example/", "not a host name"),
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused_with_a_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refused:
        parse_target(url)
    assert "\n" not in str(refused.value)
    assert "evil" not in str(refused.value)
    assert "secret" not in str(refused.value)


@given(st.text(max_size=60) | st.from_regex(r"https?://[^/\s]{0,30}(:[0-9]{1,6})?(/[!-~]{0,20})?", fullmatch=True))
def test_a_target_is_its_own_normal_form(url: str) -> None:
    try:
        target = parse_target(url)
    except ValueError:
        return
    again = f"{target.scheme}://{authority(target)}{target.path}"
    assert parse_target(again) == target
    assert urlsplit(again).hostname == target.host
    assert again.isascii()
    assert again.isprintable()
    assert " " not in again


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://other.example/x", Target("https", "other.example", 443, "/x")),
        ("//other.example:81/x", Target("http", "other.example", 81, "/x")),
        ("/abs?x=1#f", Target("http", "example.com", 80, "/abs?x=1")),
        ("rel", Target("http", "example.com", 80, "/a/rel")),
        ("../rel", Target("http", "example.com", 80, "/rel")),
        ("?q=2", Target("http", "example.com", 80, "/a/b?q=2")),
        ("", Target("http", "example.com", 80, "/a/b?q=1")),
        ("/\\other.example/", Target("http", "example.com", 80, "/\\other.example/")),
        ("/x:y", Target("http", "example.com", 80, "/x:y")),
    ],
)
def test_a_redirect_leads_where_its_location_says(location: str, target: Target) -> None:
    assert follow(Target("http", "example.com", 80, "/a/b?q=1"), location) == target


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://u:p@x.example/", "//127.1/", "javascript:x", "/a b", "/a\tb"]
)
def test_a_redirect_is_read_as_strictly_as_a_url(location: str) -> None:
    with pytest.raises(ValueError, match=r"URL|redirect|host"):
        follow(Target("http", "example.com", 80, "/"), location)


def test_the_host_header_names_the_port_only_where_it_is_unusual() -> None:
    assert authority(Target("http", "example.com", 80, "/")) == "example.com"
    assert authority(Target("https", "example.com", 80, "/")) == "example.com:80"
    assert authority(Target("http", "2001:db8::1", 81, "/")) == "[2001:db8::1]:81"


def test_hosts_are_allowed_by_name_suffix_or_all() -> None:
    rules = egress("api.example.com", "*.wikipedia.org", "192.0.2.1")
    assert host_allowed(rules, "api.example.com")
    assert host_allowed(rules, "de.wikipedia.org")
    assert host_allowed(rules, "a.b.wikipedia.org")
    assert host_allowed(rules, "192.0.2.1")
    for other in (
        "wikipedia.org",
        "evilwikipedia.org",
        "example.com",
        "x.api.example.com",
        "wikipedia.org.evil.example",
        "192.0.2.2",
        "",
    ):
        assert not host_allowed(rules, other)
    assert host_allowed(egress("*"), "anything.example")
    assert not host_allowed(egress(), "anything.example")


@pytest.mark.parametrize(
    ("named", "host", "port"),
    [
        ("example.com:443", "example.com", 443),
        ("Example.COM.:443", "example.com", 443),
        ("b\u00fccher.example:8443", "xn--bcher-kva.example", 8443),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("[2001:DB8:0::1]:65535", "2001:db8::1", 65_535),
        ("[::ffff:192.0.2.1]:443", "192.0.2.1", 443),
    ],
)
def test_what_a_connect_names_has_one_form(named: str, host: str, port: int) -> None:
    assert parse_tunnel(named) == Target("connect", host, port, "")


@pytest.mark.parametrize(
    "named",
    [
        "",
        ":443",
        "example.com",
        "example.com:",
        "example.com:0",
        "example.com:65536",
        "example.com:+443",
        "example.com:443:443",
        "example.com:443/",
        "example.com:443?",
        "http://example.com:443",
        "user@example.com:443",
        "exam ple.com:443",
        "example.com:443\x00",
        "2001:db8::1:443",
        "[2001:db8::1]",
        "[fe80::1%25lo]:443",
        "127.1:443",
        "0x7f000001:443",
        "2130706433:443",
        "%31.example:443",
    ],
)
def test_what_a_connect_must_not_name_is_refused(named: str) -> None:
    with pytest.raises(ValueError, match=r"the host ") as refused:
        parse_tunnel(named)
    assert not named or named not in str(refused.value)


@pytest.mark.parametrize(
    ("target", "text"),
    [
        (Target("http", "example.com", 80, "/a?b"), "http://example.com:80/a?b"),
        (Target("https", "2001:db8::1", 443, "/"), "https://[2001:db8::1]:443/"),
        (Target("connect", "example.com", 443, ""), "example.com:443"),
    ],
)
def test_the_log_is_told_where_a_call_went_port_and_all(target: Target, text: str) -> None:
    assert written(target) == text
    assert (parse_tunnel(text) if target.scheme == "connect" else parse_target(text)) == target
