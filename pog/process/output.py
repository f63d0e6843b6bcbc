"""Lines to standard output and standard error, written without blocking.

A pipe holds 64 KiB, a socket about 200, and a terminal can be stopped: then a plain write waits until somebody reads,
and so does the event loop with all its tunnels. O_NONBLOCK on our descriptor would be seen by everybody who shares it
with us, the shell for one. So

1. a pipe or a terminal is opened once more where the system can do that (Linux), and only that is made non-blocking;
2. a socket, as systemd gives it, is written with MSG_DONTWAIT;
3. anything else that can be asked is asked before each write (poll), which is right for up to 4096 bytes (PIPE_BUF) as
   long as nobody else writes to it;
4. a file takes everything at once.

A line that does not fit is dropped and counted. Of a line that fits in part, the rest is kept and written before the
next one. Characters that the stream's encoding lacks become escapes, as Python writes them to standard error.
"""

from __future__ import annotations

import io
import os
import select
import socket
import stat
import sys
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    # Writes some of the bytes and gives how many; none when it would have to wait. Raises OSError.
    Send = Callable[[bytes], int]


class Output:
    """Lines to one text stream, which `stream` gives at each write: tests and others exchange sys.stdout.

    `dropped` counts the lines that its reader did not take in time.
    """

    def __init__(self, stream: Callable[[], TextIO]) -> None:
        self._find = stream
        self._stream: TextIO | None = None
        self._send: Send = len
        self._rest = b""
        self.dropped = 0

    def write(self, line: str) -> bool:
        """Whether the line was written; it is dropped otherwise.

        Raises OSError for a full disk and a reader that is gone (BrokenPipeError), ValueError for a closed stream.
        """
        stream = self._find()
        if stream is not self._stream:
            self._stream, self._send, self._rest = stream, _sender(stream), b""
        data = line.encode(stream.encoding or "utf-8", "backslashreplace")
        if self._rest:
            self._rest = self._rest[self._send(self._rest) :]
        sent = 0 if self._rest else self._send(data)
        if not sent:
            self.dropped += 1
            return False
        self._rest = data[sent:]
        return True


def _sender(stream: TextIO) -> Send:
    """How to write to it without waiting. Raises ValueError when it is closed."""
    try:
        number = stream.fileno()
    except io.UnsupportedOperation:
        return _to_text(stream)
    kind = os.fstat(number).st_mode
    if stat.S_ISSOCK(kind):
        return _to_socket(number)
    if stat.S_ISREG(kind):
        return _to_file(number)
    return _to_own_descriptor(stream, number) or _to_polled(number) or _to_file(number)


def _to_text(stream: TextIO) -> Send:
    """One without a descriptor, as io.StringIO."""

    def send(data: bytes) -> int:
        stream.write(data.decode(stream.encoding or "utf-8"))
        stream.flush()
        return len(data)

    return send


def _to_file(number: int) -> Send:
    def send(data: bytes) -> int:
        return os.write(number, data)

    return send


def _to_socket(number: int) -> Send:
    sock = socket.socket(fileno=os.dup(number))

    def send(data: bytes) -> int:
        try:
            return sock.send(data, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    weakref.finalize(send, sock.close)
    return send


def _to_own_descriptor(stream: TextIO, number: int) -> Send | None:
    """By a description of our own. None where there is no /proc, and where another user's may not be opened."""
    try:
        own = os.open(f"/proc/self/fd/{number}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except (OSError, AttributeError):
        return None

    def send(data: bytes) -> int:
        if stream.closed:
            raise ValueError("I/O operation on closed file")
        try:
            return os.write(own, data)
        except BlockingIOError:
            return 0

    weakref.finalize(send, os.close, own)
    return send


def _to_polled(number: int) -> Send | None:
    """A pipe that is ready takes PIPE_BUF bytes (man 7 pipe). None where there is no poll."""
    try:
        poll = select.poll()
    except AttributeError:
        return None
    poll.register(number, select.POLLOUT)

    def send(data: bytes) -> int:
        sent = 0
        while sent < len(data) and poll.poll(0):
            sent += os.write(number, data[sent : sent + select.PIPE_BUF])
        return sent

    return send


STDOUT = Output(lambda: sys.stdout)
STDERR = Output(lambda: sys.stderr)
