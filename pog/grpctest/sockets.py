"""Which sockets of the process are open, where the system can tell."""

from __future__ import annotations

import gc
import os
import socket
import stat
import time

# File descriptors of this process: Linux, macOS and the BSDs have it.
_DESCRIPTORS = "/dev/fd"
# A socket that another thread closes (grpcio has some) may take so long, seconds.
_PATIENCE = 2.0


class Sockets:
    """Remembers the internet sockets that are open, and finds those that come later and stay."""

    def __init__(self) -> None:
        self._before = _open_sockets().keys()

    def left(self, seconds: float = _PATIENCE) -> list[str]:
        """The names of those that are new and are not closed after this number of seconds; blocks until then."""
        deadline = time.monotonic() + seconds
        pause = 0.001
        while left := [name for inode, name in _open_sockets().items() if inode not in self._before]:
            if time.monotonic() >= deadline:
                return left
            gc.collect()
            time.sleep(pause)
            pause *= 2
        return []


def _open_sockets() -> dict[int, str]:
    """By inode: what each is called. A loop's own pair of sockets is none of the internet's and is left out."""
    found: dict[int, str] = {}
    if not os.path.isdir(_DESCRIPTORS):
        return found
    for name in os.listdir(_DESCRIPTORS):
        try:
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode) and (text := _name(int(name))):
                found[status.st_ino] = text
        except OSError:
            continue
    return found


def _name(descriptor: int) -> str:
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        if sock.family not in (socket.AF_INET, socket.AF_INET6):
            return ""
        here = "{}:{}".format(*sock.getsockname()[:2])
        if sock.type != socket.SOCK_STREAM:
            return f"socket {here}"
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return f"socket listening on {here}"
        try:
            return "socket {} -> {}:{}".format(here, *sock.getpeername()[:2])
        except OSError:
            return f"socket {here}"
