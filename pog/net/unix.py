"""Listening on a Unix domain socket: a file that only those who may write to it can connect to (man 7 unix)."""

from __future__ import annotations

import errno
import os
import socket
import stat
from contextlib import suppress

from pog.net.listen import BACKLOG, CannotListen


class UnixListener:
    """A non-blocking socket that listens at `path`; `close` also removes the file, unless it is another's by now.

    The file gets the permissions that the process's umask leaves; connecting takes the one to write. A file that was
    left behind by a program that has ended is replaced. Raises CannotListen.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX)
        try:
            _remove_stale(path)
            self.socket.bind(path)
            self._file = _identity(path)
            self.socket.listen(BACKLOG)
        except OSError as error:
            self.socket.close()
            reason = error.strerror or str(error)  # Python's own error, of a path that is too long, has no number
            raise CannotListen(error.errno, f"cannot listen on unix:{path}: {reason}") from error
        self.socket.setblocking(False)

    def close(self) -> None:
        if self.socket.fileno() < 0:
            return
        self.socket.close()
        with suppress(OSError):
            if _identity(self.path) == self._file:
                os.unlink(self.path)


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _remove_stale(path: str) -> None:
    """Raises OSError when there is something that is no socket, or one that a program listens at."""
    try:
        is_socket = stat.S_ISSOCK(os.lstat(path).st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise FileExistsError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:  # its queue is full
            pass
    raise OSError(errno.EADDRINUSE, "a program listens there")
