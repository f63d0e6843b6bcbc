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
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fd00:ec2::254", "link-local"),
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


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "10.0.0.1", "192.168.1.1", "2606:4700::1", "64:ff9b::808:808", "fd00::1"]
)
def test_permits_what_is_elsewhere(address: str) -> None:
    assert EgressPolicy().refusal(address) is None


def test_an_exception_opens_its_network_only() -> None:
    policy = EgressPolicy((ipaddress.ip_network("127.0.0.0/8"),))
    assert policy.refusal("127.0.0.1") is None
    assert policy.refusal("::ffff:127.0.0.1") is None
    assert policy.refusal("::1") is not None
    assert policy.refusal("169.254.169.254") is not None


@given(st.ip_addresses(v=4))
def test_no_spelling_in_ipv6_opens_an_ipv4_address_that_is_refused(ip: ipaddress.IPv4Address) -> None:
    policy = EgressPolicy()
    plain = policy.refusal(str(ip)) is None
    assert (policy.refusal(f"::ffff:{ip}") is None) == plain
    assert (policy.refusal(str(ipaddress.IPv6Address((0x64FF9B << 96) + int(ip)))) is None) == plain
