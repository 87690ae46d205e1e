"""Is this IP address a public one? Pure, with a table of our own: `ipaddress.is_global` calls many public that are not.

Sources: the IANA special-purpose address registries for IPv4 and IPv6, and the metadata addresses the clouds document.
"""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_METADATA: frozenset[Address] = frozenset(
    map(
        ip_address,
        (
            "169.254.169.254",  # AWS, Azure, GCP, OpenStack and others
            "169.254.170.2",  # AWS ECS task credentials
            "169.254.170.23",  # AWS EKS pod identity
            "169.254.42.42",  # Scaleway
            "169.254.0.23",  # Tencent
            "169.254.10.10",  # Tencent
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure's wire server, in a public range
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # AWS
            "fd00:ec2::23",  # AWS EKS pod identity
            "fd20:ce::254",  # GCP
            "fd00:c1::a9fe:a9fe",  # Oracle
            "fd00:42::42",  # Scaleway
            "fd00:a9fe:a9fe::1",  # Akamai
            "fd00:100::100:200",  # Alibaba
            "fe80::a9fe:a9fe",  # OpenStack, Akamai
        ),
    )
)

_RANGES: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(block), name)
    for block, name in (
        ("0.0.0.0/8", "unspecified"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by carriers"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "for protocols"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved or broadcast"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "local NAT64"),
        ("100::/64", "discard-only"),
        ("100:0:0:1::/64", "dummy"),
        ("2001::/32", "Teredo"),
        ("2001:2::/48", "benchmarking"),
        ("2001:10::/28", "ORCHID"),
        ("2001:20::/28", "ORCHID"),
        ("2001::/23", "for protocols"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "private"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")


def plain(address: Address) -> Address:
    """An IPv4 address in IPv6 clothes is the same socket: the one form is judged, dialled and compared."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def forbidden(address: Address, allow_private: Sequence[Network]) -> str | None:
    """What kind of non-public address this is, or None where it may be dialled.

    `allow_private` opens ranges, but a cloud's metadata address only where it names that very address. An IPv4 address inside an
    IPv6 one is judged too: opening NAT64 does not open what lies behind it.
    """
    address = plain(address)
    if isinstance(address, IPv6Address):
        address = IPv6Address(int(address))  # without the zone, in which two equal addresses may differ
    if address in _METADATA:
        return None if ip_network(address) in allow_private else "cloud metadata"
    opened = max((block.prefixlen for block in allow_private if address in block), default=None)
    kind = _kind(address)
    if kind is not None and opened is None:
        return kind
    kinds = (forbidden(inner, allow_private) for inner in _embedded(address, opened or 0))
    return next((inside for inside in kinds if inside is not None), None)


def _kind(address: Address) -> str | None:
    for block, name in _RANGES:
        if address in block:
            return name
    if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
        return "not global unicast"
    return None


def _embedded(address: Address, opened: int) -> list[IPv4Address]:
    """The IPv4 addresses that a gateway on the way could turn an IPv6 address into."""
    if isinstance(address, IPv4Address):
        return []
    number = int(address)
    last = IPv4Address(number & 0xFFFF_FFFF)
    found = [] if address.teredo is None else [*address.teredo]
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if (number >> 32) & 0xFCFF_FFFF == _ISATAP or any(address in block for block in _LAST_32_BITS):
        found.append(last)
    if address in _LOCAL_NAT64:
        found += [inner for length, inner in _readings(address.packed) if length >= opened and int(inner) >> 24]
    return found


def _readings(packed: bytes) -> tuple[tuple[int, IPv4Address], ...]:
    """RFC 6052, 2.2: where the IPv4 address stands depends on the length of the prefix, which only the translator knows.

    It is no shorter than what the policy opened. 0.0.0.0/8, where no packet goes, tells that an address was not meant so.
    """
    return (
        (48, IPv4Address(packed[6:8] + packed[9:11])),
        (56, IPv4Address(packed[7:8] + packed[9:12])),
        (64, IPv4Address(packed[9:13])),
    )


_ISATAP = 0x0000_5EFE
"""Of an interface id, apart from the bits that say whether it is unique (RFC 5214, 6.1)."""
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_LAST_32_BITS = (*map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")), _LOCAL_NAT64)
