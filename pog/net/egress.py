"""Which destinations may be dialled: a pure judgement of one address. [pure]

The judge sees addresses, never names: every address that a name resolves to is judged, and the judged address is the
one that is dialled, so a name that changes its answer in between (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


# Where clouds give a machine its credentials, keys and start-up scripts. Most such services are at 169.254.169.254, the
# others at an address that is in no special range, or in one that people allow for their own network.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, Oracle, DigitalOcean, Hetzner, OpenStack and more
        "169.254.170.2",  # AWS: credentials of an ECS task
        "169.254.170.23",  # AWS: EKS Pod Identity
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
        "168.63.129.16",  # Azure: WireServer
        "192.0.0.192",  # Oracle
        "fd00:c1::a9fe:a9fe",
        "100.100.100.200",  # Alibaba
        "fd00:100::100:200",
        "169.254.0.23",  # Tencent
        "169.254.10.10",
        "100.96.0.96",  # Volcano Engine
        "169.254.42.42",  # Scaleway
        "fd00:42::42",
        "fd00:a9fe:a9fe::1",  # Akamai (Linode)
        "fe80::a9fe:a9fe",  # OpenStack, Akamai
    )
)


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """Refuses what only the server's own host or link can reach; `allow` makes exceptions by network.

    Cloud metadata gives a service account's tokens to every program that can reach it, so no network allows it: only
    the address itself does. Loopback and the unspecified address lead to the server's own host; multicast is no
    destination of a TCP connection.
    """

    allow: tuple[Network, ...] = ()
    # What would permit an address, for the one who is refused.
    remedy: str = "EGRESS_ALLOW={ip} on the server would permit it"

    def refusal(self, address: str) -> str | None:
        """Why `address` (no name) may not be dialled, or None when it may."""
        ip = _embedded(ipaddress.ip_address(address.partition("%")[0]))
        kind = _refused_kind(ip)
        if kind is None or any(_allows(network, ip) for network in self.allow):
            return None
        return f"{ip} is {kind} ({self.remedy.format(ip=ip)})"


@dataclass(frozen=True, slots=True)
class MetadataPolicy:
    """Refuses cloud metadata and nothing else."""

    def refusal(self, address: str) -> str | None:
        """Why `address` (no name) may not be dialled, or None when it may."""
        ip = _embedded(ipaddress.ip_address(address.partition("%")[0]))
        return f"{ip} is a cloud metadata address" if ip in _METADATA else None


def _allows(network: Network, ip: IPAddress) -> bool:
    if ip in _METADATA:
        return network.num_addresses == 1 and network.network_address == ip
    return ip.version == network.version and ip in network


def _embedded(ip: IPAddress) -> IPAddress:
    """The IPv4 address inside an IPv6 one that the kernel or a gateway would route as IPv4, else `ip` itself."""
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:  # ::ffff:127.0.0.1 is dialled as 127.0.0.1
            return ip.ipv4_mapped
        if ip.sixtofour is not None:  # RFC 3056 2
            return ip.sixtofour
        if any(ip in prefix for prefix in _LAST_32_BITS) and int(ip) > 0xFFFF:  # :: and ::1 are no IPv4 addresses
            return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip


_LAST_32_BITS = (
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64, RFC 6052 2.1
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # NAT64 of a local network, RFC 8215; with a prefix of 96 bits
    ipaddress.IPv6Network("::ffff:0:0:0/96"),  # SIIT, RFC 2765 2.1
    ipaddress.IPv6Network("::/96"),  # «IPv4-compatible», RFC 4291 2.5.5.1
)


def _refused_kind(ip: IPAddress) -> str | None:
    if ip in _METADATA:
        return "a cloud metadata address"
    if ip.is_loopback:
        return "a loopback address"
    if ip.is_link_local:
        return "a link-local address"
    if ip.is_unspecified or (ip.version == 4 and int(ip) >> 24 == 0):  # 0.0.0.0/8: «this host», RFC 1122 3.2.1.3
        return "an unspecified address"
    if ip.is_multicast or str(ip) == "255.255.255.255":
        return "a multicast address"
    return None
