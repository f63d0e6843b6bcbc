"""What the streams of one connection share.

grpclib calls this the connection of a stream, and counts messages on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.protocol import Peer

from pog.http2.deadlines import Deadlines
from pog.http2.stats import Stats

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from pog.http2.config import SessionConfig
    from pog.http2.connection import Connection
    from pog.http2.windows import Budget
    from pog.http2.writer import Writer


class Endpoint:
    """One end of a connection, as its streams see it.

    `clock` gives the time in seconds. `open` is true from the transport's beginning to its loss. `reason`: why it is
    gone, or going. `on_stream_closed` gets the identifier of each stream that is over.
    """

    __slots__ = (
        "budget",
        "client",
        "clock",
        "config",
        "connection",
        "deadlines",
        "last_message_received",
        "last_message_sent",
        "loop",
        "messages_received",
        "messages_sent",
        "on_stream_closed",
        "open",
        "reason",
        "stats",
        "transport",
        "writer",
    )

    def __init__(
        self,
        *,
        client: bool,
        config: SessionConfig,
        loop: asyncio.AbstractEventLoop,
        clock: Callable[[], float],
        connection: Connection,
        writer: Writer,
        budget: Budget,
        on_stream_closed: Callable[[int], None],
    ) -> None:
        self.client = client
        self.config = config
        self.loop = loop
        self.clock = clock
        self.connection = connection
        self.writer = writer
        self.budget = budget
        self.on_stream_closed = on_stream_closed
        self.deadlines = Deadlines()
        self.stats = Stats()
        self.open = False
        self.reason: str | None = None
        self.transport: asyncio.Transport | None = None
        # What grpclib counts on a connection.
        self.messages_sent = 0
        self.messages_received = 0
        self.last_message_sent: float | None = None
        self.last_message_received: float | None = None

    def get_peer(self) -> Peer:
        """The other end's address and certificate, as grpclib's handlers ask for them."""
        assert self.transport is not None
        return Peer(self.transport)

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return not self.open or self.transport is None or self.transport.is_closing()
