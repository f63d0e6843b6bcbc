"""Rules: which exits a request may take, and in what order they are tried. [pure]

    hosts    "example.com" that name; "*.example.com" every name below it, not itself; "*" everything;
             "10.0.0.0/8" or "192.0.2.7" literal addresses, which are never resolved to be compared
    ports    443, or "8000-8999"
    front    "http", "socks5", "socks4": what the program speaks
    users    names of the client's users

A rule without `hosts` matches every host, and so on. The first rule that matches counts. A request that none matches
goes by the last one, which is made: all exits in the order of the file.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pog.net.egress import IPAddress, Network

PICKS = ("first", "fastest")
# What `front` may name. A plain HTTP request counts as http.
FRONTS = ("http", "socks5", "socks4")

_LABEL = r"[a-z0-9_\-\u0080-\U0010ffff]{1,63}"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


@dataclass(frozen=True, slots=True)
class Hosts:
    """The hosts of one rule, each kind apart. Names are in lower case, without the dot of an absolute name."""

    everything: bool = False
    names: frozenset[str] = frozenset()
    suffixes: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether no host matches."""
        return not (self.everything or self.names or self.suffixes or self.networks)


def parse_hosts(texts: Sequence[str]) -> Hosts:
    """Raises ValueError that repeats the text which is no host."""
    names, suffixes, networks, everything = set(), set(), [], False
    for text in texts:
        low = text.strip().lower()
        if low == "*":
            everything = True
            continue
        low = low.removesuffix(".")
        if low == "*":
            raise ValueError(f"{text!r} is no host: expected * without a dot")
        if low.startswith("*.") and _NAME.fullmatch(low[2:]):
            suffixes.add(low[2:])
        elif (network := _network(low)) is not None:
            networks.append(network)
        elif _NAME.fullmatch(low):
            names.add(low)
        else:
            raise ValueError(f"{text!r} is no host: expected example.com, *.example.com, 10.0.0.0/8 or *")
    return Hosts(everything, frozenset(names), frozenset(suffixes), tuple(networks))


def _network(text: str) -> Network | None:
    try:
        return ipaddress.ip_network(text.strip("[]"))
    except ValueError:
        if "/" in text:
            raise ValueError(f"{text!r} is no network; an address inside one is written with its host bits 0") from None
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """`name` says where it stands. `retry_refused`: a destination that one exit could not connect to is tried through
    the next one too; without it only a failure of the exit itself moves a request on. `fallback` are exits that are
    tried after all others."""

    name: str
    hosts: Hosts = Hosts(everything=True)
    ports: tuple[tuple[int, int], ...] = ()
    fronts: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    exits: tuple[str, ...] = ()
    pick: str = "first"
    fallback: tuple[str, ...] = ()
    retry_refused: bool = False

    @property
    def any_host(self) -> bool:
        return self.hosts.everything

    @property
    def all_exits(self) -> tuple[str, ...]:
        return self.exits + tuple(each for each in self.fallback if each not in self.exits)

    def fits(self, port: int, front: str, user: str) -> bool:
        """Whether everything but the host matches."""
        return (
            (not self.ports or any(low <= port <= high for low, high in self.ports))
            and (not self.fronts or front in self.fronts)
            and (not self.users or user in self.users)
        )


def parse_ports(given: Sequence[int | str]) -> tuple[tuple[int, int], ...]:
    """Raises ValueError that repeats what is no port."""
    found = []
    for each in given:
        low, _, high = str(each).partition("-")
        try:
            first, last = int(low), int(high or low)
        except ValueError:
            first = last = -1
        if not 0 < first <= last < 65536:
            raise ValueError(f'{each!r} is no port: expected 443 or "8000-8999"')
        found.append((first, last))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules in their order, found by host without looking at each. The last one matches everything."""

    rules: tuple[Rule, ...]
    _names: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _suffixes: dict[str, list[int]] = field(default_factory=dict, init=False, repr=False, compare=False)
    _networks: list[tuple[Network, int]] = field(default_factory=list, init=False, repr=False, compare=False)
    _any: list[int] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for index, rule in enumerate(self.rules):
            for name in rule.hosts.names:
                self._names.setdefault(name, []).append(index)
            for suffix in rule.hosts.suffixes:
                self._suffixes.setdefault(suffix, []).append(index)
            self._networks.extend((network, index) for network in rule.hosts.networks)
            if rule.hosts.everything:
                self._any.append(index)

    def match(self, host: str, port: int, front: str, user: str) -> Rule:
        """The first rule for a request; `host` is a name or an address without brackets."""
        for index in sorted(self._candidates(host)):
            rule = self.rules[index]
            if rule.fits(port, front, user):
                return rule
        raise AssertionError("the last rule matches everything")

    def before(self, index: int) -> list[Rule]:
        """The earlier rules that could match all that one rule matches: those that match one of its hosts."""
        hosts = self.rules[index].hosts
        if hosts.everything:
            found: Iterator[int] = iter(self._any)
        elif hosts.names:
            found = self._candidates(next(iter(hosts.names)))
        elif hosts.suffixes:
            found = self._candidates(f"any.{next(iter(hosts.suffixes))}")
        else:
            found = iter([*self._any, *(each for _, each in self._networks)] if hosts.networks else ())
        return [self.rules[each] for each in sorted({each for each in found if each < index})]

    def _candidates(self, host: str) -> Iterator[int]:
        yield from self._any
        address = literal(host)
        if address is not None:
            yield from (i for net, i in self._networks if net.version == address.version and address in net)
            return
        name = host.lower().removesuffix(".")
        yield from self._names.get(name, ())
        while "." in name:
            name = name.partition(".")[2]
            yield from self._suffixes.get(name, ())


@functools.lru_cache(1024)
def literal(host: str) -> IPAddress | None:
    """The address that a host is, or None for a name. The zone of an IPv6 address does not count."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def covers(one: Rule, other: Rule) -> bool:
    """Whether every request that `other` matches is matched by `one` as well; the answer no may be wrong."""
    return (
        _hosts_cover(one.hosts, other.hosts)
        and (not one.ports or (bool(other.ports) and all(_within(each, one.ports) for each in other.ports)))
        and (not one.fronts or (bool(other.fronts) and other.fronts <= one.fronts))
        and (not one.users or (bool(other.users) and other.users <= one.users))
    )


def _within(ports: tuple[int, int], those: tuple[tuple[int, int], ...]) -> bool:
    return any(low <= ports[0] and ports[1] <= high for low, high in those)


def _hosts_cover(one: Hosts, other: Hosts) -> bool:
    if one.everything:
        return True
    if other.everything:
        return False
    return (
        all(name in one.names or _below(name, one.suffixes) for name in other.names)
        and all(suffix in one.suffixes or _below(suffix, one.suffixes) for suffix in other.suffixes)
        and all(_subnet(network, one.networks) for network in other.networks)
    )


def _below(name: str, suffixes: frozenset[str]) -> bool:
    while "." in name:
        name = name.partition(".")[2]
        if name in suffixes:
            return True
    return False


def _subnet(network: Network, networks: Sequence[Network]) -> bool:
    return any(network.version == each.version and network.subnet_of(each) for each in networks)  # type: ignore[arg-type]
