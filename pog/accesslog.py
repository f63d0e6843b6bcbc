"""The access log: one line per tunnel when it opens or is refused, in the form of the Go original.

pog: ifconfig.me:443 ilya HTTPS 172.17.0.1:60748 [2024-06-15T12:53:42Z] 200
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

# The longest destination that can be resolved is a name of 253 bytes with a port; a stranger may send anything.
LONGEST_FIELD = 300


class AccessLog:
    """Writes to standard output, one flushed line at a time; a log that cannot be written never harms a tunnel."""

    def __init__(self, enabled: bool, stream: TextIO | None = None) -> None:
        self._enabled = enabled
        self._stream = stream

    def tunnel(self, host_port: str, user: str, remote: str, code: int | str) -> None:
        """`code` is the client's HTTP status, or the server's gRPC status by its name in Go."""
        if not self._enabled:
            return
        line = f"pog: {field(host_port)} {field(user)} HTTPS {field(remote)} [{rfc3339(time.time())}] {code}\n"
        stream = self._stream or sys.stdout
        try:
            stream.write(line)
            stream.flush()
        except (BrokenPipeError, ValueError):
            self._enabled = False
        except OSError:
            pass  # A full disk may have room again for the next line.


def field(text: str) -> str:
    """The text without what could forge a second field or line."""
    text = text[:LONGEST_FIELD]
    if text.isprintable() and " " not in text:
        return text or "-"
    return "".join(char if char.isprintable() and char != " " else "?" for char in text)


def rfc3339(now: float) -> str:
    """Local time to the second, with Z for UTC as Go's time.RFC3339 prints it."""
    local = time.localtime(now)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", local)
    minutes = local.tm_gmtoff // 60
    if minutes == 0:
        return text + "Z"
    hours, minutes = divmod(abs(minutes), 60)
    return f"{text}{'+' if local.tm_gmtoff > 0 else '-'}{hours:02}:{minutes:02}"
