"""Options of the sockets under connections."""

from __future__ import annotations

import logging
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

log = logging.getLogger(__name__)


def tune(transport: asyncio.Transport, unsent: int) -> None:
    """Small writes are sent at once, and at most `unsent` bytes wait unsent in the kernel, where our scheduler cannot
    change their order any more."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sys.platform == "linux":
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, unsent)
    except OSError as error:
        log.debug("socket options: %s", error)
