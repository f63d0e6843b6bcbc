"""What a connection reports beside h2's own events. [pure]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from h2.events import Event


class DataReceived:
    """Some bytes of a stream's content. Large ones are a view into what was received, and keep it in memory."""

    __slots__ = ("data", "stream_id")

    def __init__(self, stream_id: int, data: bytes | memoryview) -> None:
        self.stream_id = stream_id
        self.data = data


@dataclass(slots=True)
class WindowOpened:
    """The peer takes more on a stream whose window was shut. The connection's window is checked before each write."""

    stream_id: int


@dataclass(slots=True)
class GoAwayReceived:
    """The peer takes no streams above `last_stream_id`; the others go on."""

    last_stream_id: int
    error_code: int
    debug: bytes


@dataclass(slots=True)
class ProbeAnswered:
    """The peer has answered the probe that carried this token."""

    token: bytes


@dataclass(slots=True)
class StreamFailed:
    """The peer broke a rule on this stream, which is closed by now. RST_STREAM, or an answer, is in the output."""

    stream_id: int
    error_code: int
    reason: str


@dataclass(slots=True)
class ConnectionFailed:
    """The peer broke a rule of the protocol or a limit of ours. GOAWAY with `error_code` is in the output."""

    error_code: int
    reason: str


if TYPE_CHECKING:
    AnyEvent = Event | DataReceived | WindowOpened | GoAwayReceived | ProbeAnswered | StreamFailed | ConnectionFailed
