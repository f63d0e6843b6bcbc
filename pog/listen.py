"""Opens a listening socket where a setting says."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pog.values import Address

# Connections that wait to be accepted: a browser opens many at once, and what does not fit waits a second for its SYN.
BACKLOG = 1024


def listening_socket(address: Address) -> socket.socket:
    """A non-blocking listening socket; without a host it takes IPv4 and IPv6, as Go's ":port". Raises OSError."""
    if address.host:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        sock = socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    elif socket.has_dualstack_ipv6():
        sock = socket.create_server(("", address.port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    else:
        sock = socket.create_server(("", address.port), backlog=BACKLOG)
    sock.setblocking(False)
    return sock
