"""Listening sockets that the parent process opened and handed over: systemd's protocol, man 3 sd_listen_fds.

LISTEN_PID      for whom they are; a child that finds another's number in its environment takes nothing
LISTEN_FDS      how many: descriptors from 3 on
LISTEN_FDNAMES  their names (FileDescriptorName= of the unit), joined by colons; may be missing
"""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pog.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

# SD_LISTEN_FDS_START
_FIRST = 3
_FDS, _PID, _NAMES = "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"


@dataclass(frozen=True, slots=True)
class Inherited:
    """A non-blocking socket that listens, and the name that it was handed over by, or ""."""

    socket: socket.socket
    name: str


def inherited_sockets(environ: Mapping[str, str], pid: int, first: int = _FIRST) -> list[Inherited]:
    """What was handed over to the process `pid`. To be called once: the sockets are the caller's then, and are not
    handed on to programs that the process starts. Raises SettingsError."""
    if environ.get(_PID) != str(pid) or not environ.get(_FDS):
        return []
    count = environ[_FDS]
    if not (count.isascii() and count.isdigit() and len(count) < 5):
        raise SettingsError(_FDS, f"must be a number of sockets, not {count[:80]!r}")
    names = environ.get(_NAMES, "").split(":")
    return [
        Inherited(_listening(first + number), names[number] if number < len(names) else "")
        for number in range(int(count))
    ]


def _listening(descriptor: int) -> socket.socket:
    what = f"descriptor {descriptor}"
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            raise SettingsError(_FDS, f"{what} must be a socket")
        sock = socket.socket(fileno=descriptor)
    except OSError as error:
        raise SettingsError(_FDS, f"{what}: {error.strerror}") from None
    kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
    if kind != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        sock.detach()
        raise SettingsError(_FDS, f"{what} must be a listening stream socket (ListenStream=, Accept=no)")
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock
