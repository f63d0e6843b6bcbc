"""TCP keepalive: how a connection finds out that the other machine is gone without a word."""

from __future__ import annotations

import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

# The first question after so long without a byte, then others, and how many without an answer end the connection.
# Go's dialer asks after 15 s; a tunnel to a sleeping phone is worth a minute. Seconds.
_IDLE = 60
_INTERVAL = 15
_COUNT = 4


def keep_alive(sock: socket.socket | TransportSocket) -> None:
    """A machine that went to sleep or off the network is noticed within two minutes on Linux.

    Connections inherit it from their listening socket. A socket whose connection has just ended stays as it is.
    """
    if (fd := sock.fileno()) < 0:
        return
    # By its descriptor, with the type that socket.socket extends: an event loop's stand-in for the socket makes a real
    # one for each call, and to read its family and type as enums costs more than the options.
    borrowed = socket.SocketType(socket.AF_INET, socket.SOCK_STREAM, fileno=fd)
    try:
        borrowed.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
            borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
            borrowed.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _COUNT)
    except OSError:
        pass  # EINVAL on macOS: the connection was reset; EBADF: it is closed
    finally:
        borrowed.detach()
