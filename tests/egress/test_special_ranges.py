"""Every special range of special_ranges.txt: just inside and just outside its borders, and what an opened range opens."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path

import pytest

from gateway.upstreams.addresses import Address, Network, forbidden

PUBLIC_SPACE: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("2000::/3"))


def _table() -> Iterator[tuple[Network, str]]:
    for line in Path(__file__).with_name("special_ranges.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            block, verdict, _ = line.split(maxsplit=2)
            yield ip_network(block), verdict


TABLE = dict(_table())
REFUSED = [block for block, verdict in TABLE.items() if verdict == "refused"]
TRANSLATED = ("::{}", "::ffff:0:{}", "64:ff9b::{}", "64:ff9b:1::{}")
"""Ranges whose last 32 bits are an IPv4 address."""


def expected(address: Address) -> str:
    """What the narrowest block says that holds the address; without one, whether the space is in use at all."""
    around = [block for block in TABLE if address in block]
    if around:
        return TABLE[max(around, key=lambda block: block.prefixlen)]
    return "public" if any(address in space for space in PUBLIC_SPACE) else "refused"


def borders(block: Network) -> Iterator[Address]:
    yield block[0]
    yield block[-1]
    kind = type(block[0])
    if int(block[0]) > 0:
        yield kind(int(block[0]) - 1)
    if int(block[-1]) + 1 < 1 << block.max_prefixlen:
        yield kind(int(block[-1]) + 1)


@pytest.mark.parametrize("block", TABLE, ids=str)
def test_a_range_is_judged_from_its_first_to_its_last_address_and_no_further(block: Network) -> None:
    for address in borders(block):
        verdict = expected(address)
        if verdict == "mapped":
            verdict = expected(IPv4Address(int(address) & 0xFFFF_FFFF))
        assert (forbidden(address, ()) is None) == (verdict == "public"), address


def test_ranges_without_a_neighbour_in_the_table_end_in_public_space() -> None:
    """The test above asks the table for its neighbours; these are asked of nobody."""
    for public in (
        "1.0.0.0",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
    ):
        assert forbidden(ip_address(public), ()) is None
    for public in ("169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "223.255.255.255"):
        assert forbidden(ip_address(public), ()) is None
    for public in ("2000::", "2001:200::", "2001:db7:ffff::", "2001:db9::", "2003::", "3ffe:ffff::", "3fff:1000::"):
        assert forbidden(ip_address(public), ()) is None


@pytest.mark.parametrize("block", REFUSED, ids=str)
def test_an_opened_range_is_open_and_nothing_beside_it(block: Network) -> None:
    inside_ipv4 = [
        block,
        ip_network("0.0.0.0/0"),
    ]  # what translators lead to is opened here, so that the range alone decides
    metadata = [ip_network(address) for address in _metadata()]
    assert forbidden(block[0], [*inside_ipv4, *metadata]) is None
    assert forbidden(block[-1], [*inside_ipv4, *metadata]) is None
    for address in borders(block):
        if address not in block:
            assert (forbidden(address, [block]) is None) == (expected(address) == "public"), address


def _metadata() -> list[Address]:
    return [
        block[0]
        for block in REFUSED
        if block.prefixlen == block.max_prefixlen and forbidden(block[0], ()) == "cloud metadata"
    ]


@pytest.mark.parametrize("address", _metadata(), ids=str)
def test_a_metadata_address_is_opened_by_its_own_name_only(address: Address) -> None:
    everything = [ip_network("0.0.0.0/0"), ip_network("::/0")]
    assert forbidden(address, everything) == "cloud metadata"
    assert forbidden(address, [ip_network(address)]) is None
    if isinstance(address, IPv4Address):
        for template in TRANSLATED:
            assert forbidden(ip_address(template.format(address)), everything) == "cloud metadata"


def test_all_documented_metadata_addresses_are_known_as_such() -> None:
    assert len(_metadata()) == sum(
        "metadata" in line or "credentials" in line or "wire server" in line for line in _lines()
    )


def _lines() -> list[str]:
    text = Path(__file__).with_name("special_ranges.txt").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_zone_makes_no_other_address_of_one() -> None:
    opened = [ip_network("fe80::/10")]
    assert forbidden(IPv6Address("fe80::1%eth0"), ()) == "link-local"
    assert forbidden(IPv6Address("fe80::1%eth0"), opened) is None
    assert forbidden(IPv6Address("fe80::a9fe:a9fe%eth0"), opened) == "cloud metadata"


@pytest.mark.parametrize("prefix", ["2a00:1450:4001:80f", "2606:4700:10:20"])
@pytest.mark.parametrize("unique", ["0:5efe", "200:5efe"])
def test_isatap_is_judged_by_the_address_inside(prefix: str, unique: str) -> None:
    assert forbidden(ip_address(f"{prefix}:{unique}:8.8.8.8"), ()) is None
    assert forbidden(ip_address(f"{prefix}:{unique}:10.0.0.1"), ()) == "private"
    assert forbidden(ip_address(f"{prefix}:{unique}:169.254.169.254"), ()) == "cloud metadata"
    assert forbidden(ip_address(f"{prefix}:0:5eff:10.0.0.1"), ()) is None


@pytest.mark.parametrize("server", ["10.0.0.1", "8.8.8.8"])
def test_teredo_is_judged_by_its_server_and_its_client(server: str) -> None:
    def teredo(server: str, client: str) -> IPv6Address:
        hidden = IPv4Address(int(IPv4Address(client)) ^ 0xFFFF_FFFF)
        return IPv6Address(b"\x20\x01\0\0" + IPv4Address(server).packed + b"\0\0\0\0" + hidden.packed)

    opened = [ip_network("2001::/32")]
    assert (forbidden(teredo(server, "8.8.4.4"), opened) is None) == (server == "8.8.8.8")
    assert forbidden(teredo("8.8.8.8", server), opened) == (None if server == "8.8.8.8" else "private")


@pytest.mark.parametrize(("opened", "judged"), [(48, {48, 56, 64, 96}), (56, {56, 64, 96}), (64, {64, 96}), (96, {96})])
def test_local_nat64_is_judged_wherever_its_address_may_stand(opened: int, judged: set[int]) -> None:
    """RFC 6052, 2.2; a prefix is no shorter than the block that the policy opened."""
    prefix = bytes.fromhex("0064ff9b0001")
    inside = IPv4Address("10.0.0.1").packed
    rest, public = b"\0", IPv4Address("8.8.8.8").packed
    written = {
        48: prefix + inside[:2] + rest + inside[2:] + rest + public,
        56: prefix + b"\x08" + inside[:1] + rest + inside[1:] + public,
        64: prefix + b"\x08\x08" + rest + inside + public[1:],
        96: prefix + b"\x08\x08" + rest + public[1:] + inside,
    }
    for length, packed in written.items():
        address = IPv6Address(packed)
        block = IPv6Network((int(address) >> (128 - opened) << (128 - opened), opened))
        assert forbidden(address, [block]) == ("private" if length in judged else None)
    assert forbidden(ip_address("64:ff9b:1::8.8.8.8"), [ip_network("64:ff9b:1::/48")]) is None
