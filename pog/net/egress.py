"""Which destinations a server may dial: a pure judgement of one address.

The judge sees addresses, never names: every address that a name resolves to is judged, and the judged address is the
one that is dialled, so a name that changes its answer in between (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Refuses what only the server's own host or link can reach; `allow` makes exceptions by network.

    Cloud metadata (169.254.169.254, fd00:ec2::254) gives a service account's tokens to whoever reaches it; the first is
    link-local. Loopback and the unspecified address lead to the server's own host; multicast is no destination of a
    TCP connection.
    """

    allow: tuple[Network, ...] = ()

    def refusal(self, address: str) -> str | None:
        """Why `address` (no name) may not be dialled, or None when it may."""
        ip = _unmapped(ipaddress.ip_address(address.partition("%")[0]))
        kind = _refused_kind(ip)
        if kind is None or any(ip.version == network.version and ip in network for network in self.allow):
            return None
        return f"{ip} is {kind} (EGRESS_ALLOW={ip} on the server would permit it)"


def _unmapped(ip: IPAddress) -> IPAddress:
    """The IPv4 address inside an IPv6 one that the kernel or a gateway would route as IPv4, else `ip` itself."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:  # ::ffff:127.0.0.1 is dialled as 127.0.0.1
            return ip.ipv4_mapped
        if ip in _NAT64:  # RFC 6052 2.1: the last 32 bits
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if ip.sixtofour is not None:  # RFC 3056 2
            return ip.sixtofour
    return ip


_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_METADATA_IPV6 = ipaddress.IPv6Address("fd00:ec2::254")


def _refused_kind(ip: IPAddress) -> str | None:
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_link_local or ip == _METADATA_IPV6:
        return "a link-local address"
    if ip.is_unspecified or (ip.version == 4 and int(ip) >> 24 == 0):  # 0.0.0.0/8: «this host», RFC 1122 3.2.1.3
        return "an unspecified address"
    if ip.is_multicast or str(ip) == "255.255.255.255":
        return "a multicast address"
    return None
