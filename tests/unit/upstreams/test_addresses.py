"""The kinds of address, and what opens them. The border of every range: tests/egress/test_special_ranges.py."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstreams.addresses import forbidden


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("0.0.0.0", "unspecified"),
        ("127.0.0.1", "loopback"),
        ("10.1.2.3", "private"),
        ("100.64.0.1", "shared by carriers"),
        ("169.254.1.1", "link-local"),
        ("169.254.169.254", "cloud metadata"),
        ("100.100.100.200", "cloud metadata"),
        ("168.63.129.16", "cloud metadata"),
        ("192.0.0.192", "cloud metadata"),
        ("fd00:ec2::254", "cloud metadata"),
        ("255.255.255.255", "reserved or broadcast"),
        ("239.1.1.1", "multicast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::8.8.8.8", "IPv4-compatible"),
        ("::ffff:127.0.0.1", "loopback"),
        ("::ffff:169.254.169.254", "cloud metadata"),
        ("64:ff9b::8.8.8.8", "NAT64"),
        ("2002:0808:0808::1", "6to4"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
        ("2001:10::1", "ORCHID"),
        ("100::1", "discard-only"),
        ("fd12::1", "private"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("4000::1", "not global unicast"),
    ],
)
def test_the_kind_of_a_forbidden_address_is_named(address: str, kind: str) -> None:
    assert forbidden(ip_address(address), ()) == kind


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "2a00:1450:4001::200e"]
)
def test_public_addresses_pass(address: str) -> None:
    assert forbidden(ip_address(address), ()) is None


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("10.1.2.3", "10.0.0.0/8"),
        ("127.0.0.1", "127.0.0.1/32"),
        ("::ffff:10.1.2.3", "10.0.0.0/8"),
        ("fd12::1", "fd00::/8"),
    ],
)
def test_allow_private_opens_what_it_lists(address: str, block: str) -> None:
    assert forbidden(ip_address(address), [ip_network(block)]) is None
    assert forbidden(ip_address("192.168.0.1"), [ip_network(block)]) is not None


@pytest.mark.parametrize(
    ("address", "wide", "exact"),
    [
        ("169.254.169.254", "169.254.0.0/16", "169.254.169.254/32"),
        ("fd00:ec2::254", "fd00::/8", "fd00:ec2::254/128"),
        ("100.100.100.200", "0.0.0.0/0", "100.100.100.200/32"),
        ("::ffff:169.254.169.254", "169.254.0.0/16", "169.254.169.254/32"),
    ],
)
def test_a_metadata_address_passes_only_by_its_own_name(address: str, wide: str, exact: str) -> None:
    assert forbidden(ip_address(address), [ip_network(wide)]) == "cloud metadata"
    assert forbidden(ip_address(address), [ip_network(exact)]) is None


@pytest.mark.parametrize(
    ("template", "block"),
    [
        ("64:ff9b::{}", "64:ff9b::/96"),
        ("64:ff9b:1::{}", "64:ff9b:1::/48"),
        ("::{}", "::/96"),
        ("::ffff:0:{}", "::ffff:0:0:0/96"),
    ],
)
def test_an_opened_translation_range_does_not_open_what_lies_behind_it(template: str, block: str) -> None:
    opened = [ip_network(block)]
    assert forbidden(ip_address(template.format("8.8.8.8")), opened) is None
    assert forbidden(ip_address(template.format("10.0.0.1")), opened) == "private"
    assert forbidden(ip_address(template.format("169.254.169.254")), opened) == "cloud metadata"


def test_6to4_and_teredo_are_judged_by_the_address_inside() -> None:
    assert forbidden(ip_address("2002:7f00:1::"), [ip_network("2002::/16")]) == "loopback"
    assert (
        forbidden(ip_address("2001:0:808:808::f5ff:fffe"), [ip_network("2001::/32")]) == "private"
    )  # 10.0.0.1, inverted


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_judged_the_same_in_its_mapped_form(address: IPv4Address) -> None:
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed)
    assert forbidden(mapped, ()) == forbidden(address, ())


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_never_public_here(address: IPv4Address | IPv6Address) -> None:
    if address.is_private and getattr(address, "ipv4_mapped", None) is None:
        assert forbidden(address, ()) is not None
