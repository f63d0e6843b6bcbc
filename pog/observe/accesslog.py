"""The access log: what became of each request for a tunnel.

    line   when it opens or is refused, in the form of the Go original; beside it one more line when it has ended, and
           one that says why it was refused
           pog: ifconfig.me:443 ilya HTTPS 172.17.0.1:60748 [2024-06-15T12:53:42Z] 200
           pog ended: ifconfig.me:443 ilya HTTPS 172.17.0.1:60748 [2024-06-15T12:53:49Z] 200 done by user after ...
           pog refused: ifconfig.me:443 ilya HTTPS 172.17.0.1:60748 [2024-06-15T12:53:42Z] 502 ifconfig.me:443 has ...
    json   when it is refused or has ended, with bytes, times, reason and who ended it (jsonlog.py)

Passwords and header fields never come here: a record holds the user's name only.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from pog.observe import jsonlog
from pog.observe.endings import CANCELLED, ending, up_and_down
from pog.process.output import STDOUT, Output

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from pog.observe.endings import Role
    from pog.tunnel.live import TunnelRecord

# The longest destination that can be resolved is a name of 253 bytes with a port; a stranger may send anything.
LONGEST_FIELD = 300
LONGEST_TEXT = 500

REFUSED = "refused"

# By the name of the front; any other's word is its name, in capitals. The original says HTTPS of every tunnel.
_WORDS = {"http": "HTTPS", "forward": "HTTP", "grpc": "HTTPS", "unknown": "-"}
_PROTOCOLS = {"http": "HTTP/1.1", "forward": "HTTP/1.1", "grpc": "gRPC", "unknown": "-"}


class AccessLog:
    """Writes to standard output, a line at a time. `ends`: with a line for each end, where that is one of its own.

    A log that cannot be written never harms a tunnel: what a reader that has stopped would make us wait for is dropped
    (process/output.py), and counted by `on_dropped`.
    """

    def __init__(
        self,
        enabled: bool,
        stream: TextIO | None = None,
        *,
        role: Role = "server",
        style: str = "line",
        ends: bool = True,
        on_dropped: Callable[[], None] | None = None,
    ) -> None:
        self._enabled = enabled
        self._output = STDOUT if stream is None else Output(lambda: stream)
        self._role = role
        self._json = style == "json"
        self._ends = ends
        self._on_dropped = on_dropped
        self._second = -1
        self._stamp = ""

    def answered(self, record: TunnelRecord, *, opened: bool) -> None:
        """The peer has received the answer."""
        if not self._enabled:
            return
        if not self._json:
            fields = self._fields(record)
            self._write(f"pog: {fields}\n")
            if not opened:
                self._write(f"pog refused: {fields} {plain(record.error_text) or '-'}{_choice(record)}\n")
        elif not opened:
            self._write(jsonlog.line(self._record(record, REFUSED)))

    def ended(self, record: TunnelRecord) -> None:
        """A tunnel that was opened has ended."""
        if not self._enabled:
            return
        if self._json:
            self._write(jsonlog.line(self._record(record, CANCELLED)))
        elif self._ends:
            seconds = time.perf_counter() - record.began
            summary = _summary(self._tunnel(record, CANCELLED), seconds)
            self._write(f"pog ended: {self._fields(record)} {summary}{_choice(record)}\n")

    def _fields(self, record: TunnelRecord) -> str:
        """The original's line behind its prefix."""
        word = _WORDS.get(record.front, record.front.upper())
        return (
            f"{shown(record.destination_text)} {shown(record.user_text)} {word} {shown(record.remote)}"
            f" [{self._now()}] {record.code}"
        )

    def _record(self, record: TunnelRecord, otherwise: str) -> dict[str, Any]:
        """`otherwise` is the reason of an end without a relay."""
        seconds = time.perf_counter() - record.began
        tunnel = self._tunnel(record, otherwise)
        return {
            "severity": _severity(record, tunnel["reason"]),
            "time": jsonlog.timestamp(time.time()),
            "message": f"{tunnel['destination']} {tunnel['user']} {record.remote} {record.code}"
            f" {_summary(tunnel, seconds)}",
            "httpRequest": {
                "requestMethod": "CONNECT",
                "requestUrl": tunnel["destination"],
                "status": record.status,
                # 64-bit integers are strings in Google's JSON.
                "requestSize": str(tunnel["bytes_up"]),
                "responseSize": str(tunnel["bytes_down"]),
                "remoteIp": record.remote.rpartition(":")[0].strip("[]"),
                "latency": f"{seconds:.6f}s",
                "protocol": _PROTOCOLS.get(record.front, record.front.upper()),
            },
            **jsonlog.trace_fields(record.metadata),
            "tunnel": tunnel | {"duration_seconds": round(seconds, 6)},
        }

    def _tunnel(self, record: TunnelRecord, otherwise: str) -> dict[str, Any]:
        up, down, by, reason, error = 0, 0, "", otherwise, record.error_text
        relay = record.relay
        if relay is not None:
            up, down = up_and_down(self._role, relay.from_local, relay.from_tunnel)
            by, reason = ending(self._role, relay)
            error = str((relay.ended and relay.ended.error) or "")
        forwarded = record.metadata.get("x-forwarded-for") if record.metadata else None
        return {
            "role": self._role,
            "destination": record.destination_text[:LONGEST_FIELD],
            "user": record.user_text[:LONGEST_FIELD],
            "remote": record.remote,
            "front": record.front,
            "exit": record.exit,
            "rule": record.rule,
            "why": record.tunnel.reason[:LONGEST_TEXT] if record.tunnel else "",
            # Behind a front end it is the one who knows; anywhere else the client writes what it likes.
            "forwarded_for": str(forwarded or "")[:LONGEST_FIELD],
            "code": record.code,
            "reason": reason,
            "ended_by": by,
            "error": error[:LONGEST_TEXT],
            "bytes_up": up,
            "bytes_down": down,
            "handshake_seconds": _rounded(record.opened_after),
            "first_byte_seconds": _rounded(relay.first_byte) if relay else None,
        }

    def _write(self, line: str) -> None:
        try:
            if not self._output.write(line) and self._on_dropped is not None:
                self._on_dropped()
        except (BrokenPipeError, ValueError):
            self._enabled = False  # its reader is gone
        except OSError:
            pass  # A full disk may have room again for the next line.

    def _now(self) -> str:
        now = time.time()
        if int(now) != self._second:
            self._second, self._stamp = int(now), rfc3339(now)
        return self._stamp


def _summary(tunnel: dict[str, Any], seconds: float) -> str:
    """How a tunnel ended and what it moved, in one line."""
    by, error = tunnel["ended_by"], plain(tunnel["error"])
    return (
        f"{tunnel['reason']}{' by ' if by else ''}{by} after {seconds:.3f} s,"
        f" {tunnel['bytes_up']} bytes up, {tunnel['bytes_down']} down{': ' if error else ''}{error}"
    )


def _choice(record: TunnelRecord) -> str:
    """Which exit, by which rule and why, where there is a choice."""
    if not record.rule:
        return ""
    why = f": {plain(record.tunnel.reason)}" if record.tunnel and record.tunnel.reason else ""
    return f" [exit {record.exit} by {record.rule}{why}]"


def _severity(record: TunnelRecord, reason: str) -> str:
    if reason == REFUSED:
        return "ERROR" if record.status == 500 else "WARNING"
    return "INFO" if reason == "done" else "NOTICE"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def shown(text: str) -> str:
    """The text without what could forge a second field or line."""
    text = text[:LONGEST_FIELD]
    if text.isprintable() and " " not in text:
        return text or "-"
    return "".join(char if char.isprintable() and char != " " else "?" for char in text)


def plain(text: str) -> str:
    """The text as a part of one line: bounded, and without what could forge another one."""
    text = text[:LONGEST_TEXT]
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def rfc3339(now: float) -> str:
    """Local time to the second, with Z for UTC as Go's time.RFC3339 prints it."""
    local = time.localtime(now)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", local)
    minutes = local.tm_gmtoff // 60
    if minutes == 0:
        return text + "Z"
    hours, minutes = divmod(abs(minutes), 60)
    return f"{text}{'+' if local.tm_gmtoff > 0 else '-'}{hours:02}:{minutes:02}"
