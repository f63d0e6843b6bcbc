"""Opens the listening sockets that a setting asks for.

    :8080 0.0.0.0:8080 [::]:8080    every address of this machine, IPv4 and IPv6, as Go's net.Listen
    localhost:8080                  every address of the name; Go takes one of them
    127.0.0.1:8080                  this address

All sockets of one setting have one port, also where the kernel is to choose it. What they accept has TCP keepalive.
"""

from __future__ import annotations

import errno
import ipaddress
import logging
import os
import socket
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from pog.net.keepalive import keep_alive

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pog.net.address import Address
    from pog.net.resolve import SockAddr

log = logging.getLogger("pog")

# Connections that wait to be accepted: a browser opens many at once, and what does not fit waits a second for its SYN.
BACKLOG = 1024

# Whether the kernel spreads connections over the sockets that share a port, and does not only permit them.
SPREADS = sys.platform == "linux"

# Another program may have the port that the kernel chose for the first socket at an address of the others.
_ATTEMPTS = 10
# An address that this machine does not have: /etc/hosts often names ::1 where IPv6 is switched off.
NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


class CannotListen(OSError):
    """Nothing can listen at an address, which the text names."""


class _Place(NamedTuple):
    """Where one socket listens."""

    family: socket.AddressFamily
    address: SockAddr
    # One socket of IPv6 takes connections of IPv4 too.
    both: bool = False


def listening_sockets(address: Address) -> list[socket.socket]:
    """Non-blocking sockets that listen at every place that the address means.

    Addresses of a name that this machine does not have are left out, with a warning, unless there is no other. Raises
    CannotListen.
    """
    try:
        places = _places(address)
        for _ in range(_ATTEMPTS - 1):
            try:
                return _open_all(address, places)
            except OSError as error:
                if address.port or error.errno != errno.EADDRINUSE:
                    raise
        return _open_all(address, places)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise CannotListen(error.errno, f"cannot listen on {address}: {reason}") from error


def _places(address: Address) -> list[_Place]:
    if not _is_wildcard(address.host):
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(_Place(family, name) for family, _, _, _, name in found))  # type: ignore[arg-type]
    if socket.has_dualstack_ipv6():
        return [_Place(socket.AF_INET6, ("::", address.port), both=True)]
    return [_Place(socket.AF_INET, ("0.0.0.0", address.port)), _Place(socket.AF_INET6, ("::", address.port))]


def _is_wildcard(host: str) -> bool:
    try:
        return not host or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _open_all(address: Address, places: list[_Place]) -> list[socket.socket]:
    port, missing = address.port, None
    with ExitStack() as stack:
        opened: list[socket.socket] = []
        for place in places:
            try:
                sock = stack.enter_context(_open(place, port))
            except OSError as error:
                if error.errno not in NOT_HERE:
                    raise
                missing = missing or error
                continue
            port = sock.getsockname()[1]
            opened.append(sock)
        if missing is not None:
            if not opened:
                raise missing
            log.warning("listening on %s only at %s", address, ", ".join(sock.getsockname()[0] for sock in opened))
        stack.pop_all()
    return opened


def _open(place: _Place, port: int) -> socket.socket:
    name = (place.address[0], port, *place.address[2:])
    sock = socket.create_server(name, family=place.family, backlog=BACKLOG, dualstack_ipv6=place.both)
    keep_alive(sock)
    sock.setblocking(False)
    return sock


@contextmanager
def reserved(address: Address) -> Iterator[list[socket.socket]]:
    """Holds the places for several processes, each of which opens its own sockets there with `beside`.

    Where the kernel does not spread connections over these, the sockets listen, and all processes use them. Raises
    OSError when an address is taken.
    """
    with ExitStack() as stack:
        listening = listening_sockets(address)
        for sock in listening:
            stack.enter_context(sock)
        if not SPREADS:
            yield listening
            return
        # Shared sockets would also share with another server of this user: that nobody is there is known now.
        held = []
        for sock in listening:
            place = _place_of(sock)
            sock.close()
            held.append(stack.enter_context(_shared(place)))
        yield held


def beside(held: socket.socket) -> socket.socket:
    """One more non-blocking socket that listens where `held` is bound. Raises OSError."""
    sock = _shared(_place_of(held))
    try:
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def _place_of(sock: socket.socket) -> _Place:
    both = sock.family == socket.AF_INET6 and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return _Place(sock.family, sock.getsockname(), both)


def _shared(place: _Place) -> socket.socket:
    """A socket that is bound beside others of this user that share the place."""
    sock = socket.socket(place.family)
    try:
        if place.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not place.both)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        keep_alive(sock)
        sock.bind(place.address)
    except BaseException:
        sock.close()
        raise
    return sock
