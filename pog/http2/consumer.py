"""Who takes a stream's content by callbacks. [pure]"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pog.errors import TunnelError


class Consumer(Protocol):
    """Takes a stream's content by callbacks, after `Stream.attach`."""

    def data_received(self, data: bytes | memoryview) -> None:
        """A piece of content, of any size. A large one is a view, and keeps all that was read with it in memory."""

    def ended(self) -> None:
        """The peer has ended its direction; `Stream.trailers` are there if it sent any."""

    def lost(self, error: TunnelError) -> None:
        """The stream is gone; nothing else is called after this."""

    def pause_writing(self) -> None:
        """Much of what was written is waiting."""

    def resume_writing(self) -> None:
        """Little of what was written is waiting."""


class Discarding:
    """The consumer of a stream that is not read any more."""

    def data_received(self, data: bytes | memoryview) -> None:
        pass

    def ended(self) -> None:
        pass

    def lost(self, error: TunnelError) -> None:
        pass

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        pass
