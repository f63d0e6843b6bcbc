"""Which addresses are refused, and that exceptions open exactly what they name."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.net.egress import EgressPolicy


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("64:ff9b::7f00:1", "loopback"),
        ("2002:7f00:1::", "loopback"),
        ("169.254.1.1", "link-local"),
        ("::ffff:169.254.1.1", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("64:ff9b:1::7f00:1", "loopback"),
        ("::ffff:0:127.0.0.1", "loopback"),
        ("::127.0.0.1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("255.255.255.255", "multicast"),
    ],
)
def test_refuses_what_only_the_server_itself_can_reach(address: str, kind: str) -> None:
    refusal = EgressPolicy().refusal(address)
    assert refusal is not None and kind in refusal


METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.170.23",
    "169.254.42.42",
    "168.63.129.16",
    "192.0.0.192",
    "100.100.100.200",
    "100.96.0.96",
    "fd20:ce::254",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd00:42::42",
    "fd00:c1::a9fe:a9fe",
    "fd00:100::100:200",
    "fd00:a9fe:a9fe::1",
    "fe80::a9fe:a9fe",
    "fe80::a9fe:a9fe%eth0",
    "::ffff:169.254.169.254",
    "::ffff:100.100.100.200",
    "64:ff9b::a83f:8110",
    "2002:a9fe:a9fe::1",
]


@pytest.mark.parametrize("address", METADATA)
def test_metadata_is_allowed_only_by_its_own_address(address: str) -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    refusal = EgressPolicy(everything).refusal(address)
    assert refusal is not None and "is a cloud metadata address" in refusal
    assert EgressPolicy().refusal(address) == refusal
    _, _, hint = refusal.partition("EGRESS_ALLOW=")
    own = ipaddress.ip_network(hint.split(" ")[0])
    assert EgressPolicy((own,)).refusal(address) is None
    assert EgressPolicy((own.supernet(),)).refusal(address) == refusal


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "10.0.0.1", "192.168.1.1", "2606:4700::1", "64:ff9b::808:808", "fd00::1", "fd20:ce::253", "::2"],
)
def test_permits_what_is_elsewhere(address: str) -> None:
    assert EgressPolicy().refusal(address) is None


def test_an_exception_opens_its_network_only() -> None:
    policy = EgressPolicy((ipaddress.ip_network("127.0.0.0/8"),))
    assert policy.refusal("127.0.0.1") is None
    assert policy.refusal("::ffff:127.0.0.1") is None
    assert policy.refusal("::1") is not None
    assert policy.refusal("169.254.169.254") is not None
    assert policy.refusal("169.254.1.1") is not None


@given(st.ip_addresses(v=4))
def test_no_spelling_in_ipv6_opens_an_ipv4_address_that_is_refused(ip: ipaddress.IPv4Address) -> None:
    policy = EgressPolicy()
    plain = policy.refusal(str(ip)) is None
    assert (policy.refusal(f"::ffff:{ip}") is None) == plain
    for prefix in (0x64FF9B << 96, 0x64FF9B0001 << 80, 0xFFFF << 48):
        assert (policy.refusal(str(ipaddress.IPv6Address(prefix + int(ip)))) is None) == plain
