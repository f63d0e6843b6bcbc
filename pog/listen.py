"""Opens a listening socket where a setting says."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pog.values import Address

# Connections that wait to be accepted: a browser opens many at once, and what does not fit waits a second for its SYN.
BACKLOG = 1024


def listening_socket(address: Address) -> socket.socket:
    """A non-blocking listening socket; without a host it takes IPv4 and IPv6, as Go's ":port".

    Raises OSError, whose text names the address.
    """
    try:
        sock = _open(address)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise OSError(error.errno, f"cannot listen on {address}: {reason}") from error
    sock.setblocking(False)
    return sock


def _open(address: Address) -> socket.socket:
    if address.host:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((address.host, address.port), family=family, backlog=BACKLOG)
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", address.port), family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
    return socket.create_server(("", address.port), backlog=BACKLOG)
