"""One stream of a session, for calls: coroutines beside the callbacks of flow.py.

It has the surface that grpclib expects of its protocol.Stream (recv_headers, recv_data, send_data and so on), and
recv_chunk for plain HTTP. A call may become a payload (`attach`); what was not read before comes first then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from h2.errors import ErrorCodes
from h2.exceptions import StreamClosedError

from pog.http2.flow import Flow
from pog.process.timers import Limit
from pog.wire.framing import LARGEST_MESSAGE, message_length

if TYPE_CHECKING:
    from pog.errors import TunnelError
    from pog.http2.endpoint import Endpoint
    from pog.http2.fields import Headers


class Stream(Flow):
    """A request and its answer."""

    __slots__ = ("_begun", "_inside")

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(endpoint)
        # Whether a prefix was read, and its message has still to be; and whether any message was.
        self._inside = False
        self._begun = False

    async def _changed(self) -> None:
        waiter = self.loop.create_future()
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        await waiter

    async def recv_headers(self) -> Headers:
        """The peer's headers. Raises TunnelError when the stream breaks before they come."""
        while self.headers is None:
            if self.error is not None:
                raise self.error
            await self._changed()
        return self.headers

    async def recv_trailers(self) -> Headers:
        """The peer's trailers; those of an answer that is trailers alone are its headers."""
        while not self.ended:
            if self.error is not None:
                raise self.error
            await self._changed()
        return self.trailers if self.trailers is not None else []

    async def recv_data(self, size: int) -> bytes:
        """Exactly `size` bytes, or none when the peer's direction has ended. To be asked as gRPC's messages are read:
        for five bytes of prefix, then for the message.

        Raises TunnelError when the stream breaks, and GRPCError when it ends inside a message, for a size over 4 MiB,
        and on a server when the first message, or the rest of one, does not come in time. Nothing is lost when the
        caller is cancelled.
        """
        if size > LARGEST_MESSAGE:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"a message of {size} bytes; the limit is {LARGEST_MESSAGE}")
        if self.buffered >= size:
            return self._message(size)
        if self.client or (self._begun and not self._inside):
            return await self._awaited(size)
        seconds = self._endpoint.config.message_timeout
        try:
            with Limit(seconds):
                return await self._awaited(size)
        except TimeoutError:
            what = "a message was not whole" if self._begun else "the first message did not come"
            raise GRPCError(Status.DEADLINE_EXCEEDED, f"{what} within {seconds:g} s") from None

    async def _awaited(self, size: int) -> bytes:
        while self._buffer.size < size:
            self._wanted = size
            self._credit_ahead()
            if self.error is not None:
                raise self.error
            if self.ended:
                if self._buffer.size or self._inside:
                    raise GRPCError(Status.INTERNAL, "the stream ended inside a message")
                return b""
            await self._changed()
        return self._message(size)

    def _message(self, size: int) -> bytes:
        """A prefix or a message, of which enough is buffered."""
        data, credit = self._buffer.take(size)
        self._wanted = 0
        self._unbuffered(size, credit)
        if size:  # a prefix, whose last four bytes are the length of the message, or a message
            self._begun = True
            self._inside = not self._inside and message_length(data) > 0
        return data

    async def recv_chunk(self) -> bytes:
        """Some bytes of content as they came, or none when the peer's direction has ended. Raises TunnelError."""
        while not self._buffer.size:
            if self.error is not None:
                raise self.error
            if self.ended:
                return b""
            await self._changed()
        data, credit = self._buffer.take_piece()
        self._wanted = 0
        self._unbuffered(len(data), credit)
        return data if isinstance(data, bytes) else bytes(data)

    async def send_headers(self, headers: Headers, end_stream: bool = False) -> None:
        """Sends a response's head at once, or trailers after what is queued. Raises h2's StreamClosedError."""
        self._raise_if_closed()
        if self._head_sent and end_stream:
            self.end_with(headers)
            return
        self._head_sent = not headers[0][1].startswith("1") if headers[0][0] == ":status" else self._head_sent
        self.send_headers_now(headers, end_stream=end_stream)

    async def send_data(self, data: bytes, end_stream: bool = False) -> None:
        """Queues the data, and waits while much is queued: while the peer takes some of it now and then, as long as it
        needs; otherwise the stream is reset. Raises h2's StreamClosedError.
        """
        self._raise_if_closed()
        if data:
            self.write([data], len(data))
        if end_stream:
            self.write_eof()
        if self.queue.size <= self._endpoint.config.write_low:
            return
        self.must_send()
        while self.queue.size > self._endpoint.config.write_low and self.error is None:
            await self._changed()

    async def end(self) -> None:
        """Ends our direction after what is queued. Raises h2's StreamClosedError."""
        self._raise_if_closed()
        self.write_eof()

    async def reset(self, error_code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        self.reset_nowait(error_code)

    def reset_nowait(self, error_code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Ends both directions at once. Does nothing to a stream that is closed.

        NO_ERROR from a server that has said its end asks for what happens anyway, once the end has gone out.
        """
        if error_code == ErrorCodes.NO_ERROR and self.id is not None and self.queue.ends and not self.client:
            return
        self.abort(error_code)

    async def sent(self) -> None:
        """Waits until what was written has become frames, or never can."""
        while self.queue.size and self.error is None:
            await self._changed()

    async def wait_lost(self) -> TunnelError:
        """Waits until the stream breaks: for users of `recv_chunk` that wait for something else."""
        while self.error is None:
            await self._changed()
        return self.error

    def _raise_if_closed(self) -> None:
        if self.id is None or self.error is not None or self.queue.ends:
            raise StreamClosedError(self.id or 0)

    @property
    def closable(self) -> bool:
        """Whether there is something left to close, as grpclib asks it."""
        return self.id is not None and not self.machine.closed and not self._endpoint.is_closing()

    @property
    def connection(self) -> Endpoint:
        """What grpclib counts messages on, and asks for the peer."""
        return self._endpoint

    @property
    def _transport(self) -> Endpoint:
        return self._endpoint
