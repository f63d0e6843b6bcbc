"""Services on grpcio's server: an implementation that shares no code with grpclib or pog.

Strategy: every method is registered as one of streams, since on the wire the four kinds of methods are alike, and its
handler gets an object with the surface of grpclib's server stream.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import grpc
import grpc.aio
from grpclib.const import Status
from grpclib.exceptions import GRPCError, ProtocolError
from grpclib.metadata import Deadline
from multidict import MultiDict

from pog.grpctest.front import END, LOOPBACK
from pog.net.address import Address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from grpclib.const import Handler

    from pog.grpctest.servers import Factory

    Metadata = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes]] | None

_STATUSES = {code.value[0]: code for code in grpc.StatusCode}


class GrpcioServer:
    """The server, on a port of its own."""

    def __init__(self, mapping: dict[str, Handler], port: int) -> None:
        self._mapping = mapping
        self._port = port
        self.address = Address(LOOPBACK, port)

    async def start(self) -> None:
        """Raises OSError when the port is taken."""
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        services: dict[str, dict[str, Any]] = {}
        for path, handler in self._mapping.items():
            _, service, method = path.split("/")
            services.setdefault(service, {})[method] = grpc.stream_stream_rpc_method_handler(
                _behaviour(handler), handler.request_type.FromString, handler.reply_type.SerializeToString
            )
        generic = grpc.method_handlers_generic_handler
        self._server.add_generic_rpc_handlers([generic(service, methods) for service, methods in services.items()])
        try:
            port = self._server.add_insecure_port(f"{LOOPBACK}:{self._port}")
        except RuntimeError as error:
            raise OSError(f"{self.address}: address already in use, says grpcio: {error}") from error
        self.address = Address(LOOPBACK, port)
        await self._server.start()

    async def connect(self, factory: Factory) -> object:
        return await asyncio.get_running_loop().create_connection(factory, self.address.host, self.address.port)

    async def stop(self) -> None:
        """Cancels the calls; a server of grpcio's ends when they have ended, and not before."""
        self._stopping = asyncio.create_task(self._server.stop(None), name="grpctest stop")

    async def close(self) -> list[str]:
        _, left = await asyncio.wait([self._stopping], timeout=END / 5)
        return ["the server of grpcio" for _ in left]


def _behaviour(handler: Handler) -> Callable[[Any, Any], Any]:
    async def serve(_: AsyncIterator[Any], context: Any) -> None:
        stream = GrpcioStream(context)
        try:
            await handler.func(cast("Any", stream))
            stream.check_answered(unary=not handler.cardinality.server_streaming)
        except GRPCError as error:
            await context.abort(_STATUSES[error.status.value], error.message or "")

    return serve


class GrpcioPeer:
    """The client's address, as grpclib.protocol.Peer tells it."""

    def __init__(self, text: str) -> None:
        """`text` is grpcio's, such as ipv4:127.0.0.1:40123 or ipv6:%5B::1%5D:40123."""
        host, _, port = unquote(text).partition(":")[2].rpartition(":")
        self._address = (host.strip("[]"), int(port)) if port.isdigit() else None

    def addr(self) -> tuple[str, int] | None:
        return self._address

    def cert(self) -> None:
        return None


class GrpcioStream:
    """One call of grpcio's, with the surface of grpclib.server.Stream."""

    def __init__(self, context: Any) -> None:
        self._context = context
        self._answered = False
        metadata = MultiDict(context.invocation_metadata())
        self.user_agent = metadata.popone("user-agent", None)
        self.metadata = metadata
        self.peer = GrpcioPeer(context.peer())
        remaining = context.time_remaining()
        self.deadline = None if remaining is None else Deadline.from_timeout(remaining)

    async def recv_message(self) -> Any:
        """The next message, or None at their end."""
        message = await self._context.read()
        return None if message is grpc.aio.EOF else message

    async def send_initial_metadata(self, *, metadata: Metadata = None) -> None:
        await self._context.send_initial_metadata(_pairs(metadata))

    async def send_message(self, message: Any) -> None:
        self._answered = True
        await self._context.write(message)

    async def send_trailing_metadata(
        self,
        *,
        status: Status = Status.OK,
        status_message: str | None = None,
        status_details: Any = None,
        metadata: Metadata = None,
    ) -> None:
        """Grpcio sends it when the handler returns."""
        self._answered = True
        self._context.set_code(_STATUSES[status.value])
        self._context.set_details(status_message or "")
        self._context.set_trailing_metadata(_pairs(metadata))

    async def cancel(self) -> None:
        """The client sees CANCELLED; grpcio has no way to reset a stream."""
        await self._context.abort(grpc.StatusCode.CANCELLED)

    def check_answered(self, *, unary: bool) -> None:
        if unary and not self._answered:
            raise ProtocolError("Unary response with OK status requires a single message to be sent")

    def __aiter__(self) -> GrpcioStream:
        return self

    async def __anext__(self) -> Any:
        message = await self.recv_message()
        if message is None:
            raise StopAsyncIteration
        return message


def _pairs(metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    return tuple(MultiDict(metadata or ()).items())
