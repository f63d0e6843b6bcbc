"""Opens a listening socket where a setting says."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pog.config.parsers import Address

# Connections that wait to be accepted: a browser opens many at once, and what does not fit waits a second for its SYN.
BACKLOG = 1024

# Whether the kernel spreads connections over the sockets that share a port, and does not only permit them.
SPREADS = sys.platform == "linux"


def listening_socket(address: Address, *, shared: bool = False) -> socket.socket:
    """A non-blocking listening socket; without a host it takes IPv4 and IPv6, as Go's ":port".

    `shared`: beside others of this user that are shared. Raises OSError, whose text names the address.
    """
    try:
        sock = _open(address, shared)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise OSError(error.errno, f"cannot listen on {address}: {reason}") from error
    sock.setblocking(False)
    return sock


def _open(address: Address, shared: bool) -> socket.socket:
    if address.host:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        both, name = False, (address.host, address.port)
    else:
        both, name = socket.has_dualstack_ipv6(), ("", address.port)
        family = socket.AF_INET6 if both else socket.AF_INET
    return socket.create_server(name, family=family, backlog=BACKLOG, reuse_port=shared, dualstack_ipv6=both)


@contextmanager
def reserved(address: Address) -> Iterator[socket.socket]:
    """Holds the address for several processes, each of which opens a shared socket there.

    Where the kernel does not spread connections over these, the socket listens, and they use it themselves. Raises
    OSError when the address is taken.
    """
    with listening_socket(address) as listening:
        if not SPREADS:
            yield listening
            return
        # Shared sockets would also share with another server of this user: that nobody is there is known now.
        name, family = listening.getsockname(), listening.family
        only_v6 = family == socket.AF_INET6 and listening.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    with socket.socket(family) as held:
        if family == socket.AF_INET6:
            held.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(name)
        yield held
