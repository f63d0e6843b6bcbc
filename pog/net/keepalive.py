"""TCP keepalive: how a connection finds out that the other machine is gone without a word."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
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
    if isinstance(sock, socket.socket):
        _set(sock)
    elif sock.fileno() >= 0:  # not closed already
        # An event loop's stand-in for the socket makes a real one for each call; four calls share one here.
        real = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.fileno())
        _set(real)
        real.detach()


def _set(sock: socket.socket) -> None:
    with suppress(OSError):  # EINVAL on macOS: the connection was reset; EBADF: it is closed
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _INTERVAL)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _COUNT)
