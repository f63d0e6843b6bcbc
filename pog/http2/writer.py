"""When the output of one connection is written.

Output is written once per piece of input, and otherwise when the loop has served what is ready now, so that what many
streams send in one pass goes out in one piece. What a full transport cannot take stays in the streams' queues, where
the scheduler can still change its order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from pog.http2.connection import Connection
    from pog.http2.scheduler import SendQueue

# How many bytes one step moves from the streams' queues to the transport before it checks again whether that is full.
_PULL_BYTES = 256 * 1024
# At most this many pieces of output of one pass are joined: with all of them, two busy processes would wait for each
# other.
_MOST_JOINED = 8


class Writer:
    """Nothing is written while `corked`, before `start`, or after `stop`. `full`: the transport has said that it is."""

    __slots__ = ("_connection", "_joined", "_loop", "_scheduled", "_transport", "corked", "full")

    def __init__(self, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._scheduled = False
        self._joined = 0
        # While True, what is to be sent waits for the end of the present step.
        self.corked = False
        self.full = False

    def start(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def stop(self) -> None:
        self._transport = None

    def soon(self) -> None:
        """Writes after the present pass of the loop, or at once when much has been sent in it."""
        if self.corked:
            return
        self._joined += 1
        if self._joined >= _MOST_JOINED:
            self.flush()
        elif not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Writes what is to be sent, as far as the transport takes it."""
        transport = self._transport
        if self.corked or transport is None:
            return
        connection = self._connection
        self.corked = True
        self._joined = 0
        try:
            while True:
                served: list[SendQueue] = []
                if not self.full and connection.outbound.scheduler.waiting:
                    served = connection.outbound.pull(_PULL_BYTES)
                chunks = connection.data_to_send()
                if not chunks:
                    break
                if len(chunks) == 1:
                    transport.write(chunks[0])
                else:
                    transport.writelines(chunks)
                if not served:
                    break
                for queue in served:
                    if queue.owner is not None:  # it may have ended in an earlier turn
                        queue.owner.on_sent()
        finally:
            self.corked = False
