"""What the policy names has one form too: a rule in another one would never meet what is judged, and so do nothing."""

from collections.abc import Callable
from ipaddress import ip_address

import pytest

from gateway.policy.hosts import read_block, read_host, read_host_rule
from gateway.upstreams.listeners import Listeners


@pytest.mark.parametrize("text", ["::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:7F00:1", "0:0:0:0:0:ffff:7f00:1"])
@pytest.mark.parametrize("read", [read_host, read_host_rule])
def test_ipv4_in_ipv6_clothes_is_refused_with_the_form_to_write(read: Callable[[str], str], text: str) -> None:
    with pytest.raises(ValueError, match=r"canonical form \(127\.0\.0\.1\)"):
        read(text)


def test_a_block_of_ipv4_in_ipv6_clothes_is_refused_with_the_block_to_write() -> None:
    with pytest.raises(ValueError, match=r"IPv4 as such \(10\.0\.0\.0/8\)"):
        read_block("::ffff:10.0.0.0/104")
    assert read_block("::/0") == "::/0"
    with pytest.raises(ValueError, match=r"without host bits \(10\.0\.0\.0/8\)"):
        read_block("10.0.0.1/8")
    assert read_block("FD00::/8") == "fd00::/8"


@pytest.mark.parametrize("bound", ["127.0.0.1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("dialled", ["127.0.0.1", "::ffff:127.0.0.1"])
def test_the_gateways_listener_is_the_same_in_either_form(bound: str, dialled: str) -> None:
    listeners = Listeners([(ip_address(bound), 8080)])
    assert listeners.own(ip_address(dialled), 8080)
    assert not listeners.own(ip_address(dialled), 8081)


def test_a_listener_on_the_mapped_unspecified_address_is_everywhere() -> None:
    assert Listeners([(ip_address("::ffff:0.0.0.0"), 8080)]).own(ip_address("127.0.0.1"), 8080)
