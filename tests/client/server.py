"""The tunnel service on our HTTP/2 engine, with every step the test's."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pog.grpctest import Faults, front, serve
from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectResponse, HTTPError, Packet
from tests.client.support import SECONDS

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    import grpclib.server
    from grpclib.const import Status

    from pog.http2.session import Session
    from pog.http2.stream import Stream
    from pog.net.address import Address

HEAD = [(":status", "200"), ("content-type", "application/grpc"), ("pog-abilities", "half-close")]


class Call:
    """One call of the client, as the server sees it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.headers = dict(stream.headers or ())
        transport = stream.connection.transport
        assert transport is not None
        # The engine stands between the two.
        takeover: Any = transport.get_protocol()
        self.session: Session = takeover._session

    async def receive(self) -> Packet:
        async with asyncio.timeout(SECONDS):
            prefix = await self.stream.recv_data(5)
            return Packet.FromString(await self.stream.recv_data(int.from_bytes(prefix[1:], "big")))

    async def send(self, packet: Packet) -> None:
        data = packet.SerializeToString()
        await self.stream.send_data(b"\0" + len(data).to_bytes(4, "big") + data)

    async def accept(self) -> str:
        """Opens the tunnel; gives what it was asked for."""
        host_port = (await self.receive()).connect_request.host_port
        await self.stream.send_headers(HEAD)
        await self.send(Packet(connect_response=ConnectResponse()))
        return host_port

    async def refuse(self, http_status: int, text: str, status: Status, kind: str = "") -> None:
        """As a server does whose dial failed."""
        await self.stream.send_headers([*HEAD, *([("pog-failure", kind)] if kind else [])])
        await self.send(Packet(connect_response=ConnectResponse(error=HTTPError(status_code=http_status, error=text))))
        await self.end(status, text)

    async def end(self, status: Status, message: str = "") -> None:
        await self.stream.send_headers([("grpc-status", str(status.value)), ("grpc-message", message)], end_stream=True)

    async def fail(self, status: Status, message: str = "") -> None:
        """Ends the call with an answer that is trailers alone."""
        trailers = [("grpc-status", str(status.value)), ("grpc-message", message)]
        await self.stream.send_headers([*HEAD[:2], *trailers], end_stream=True)


class Script(HTTPProxyBase):
    """The tunnel service. Each call waits in a queue for the test, which then speaks for the server."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[Call] = asyncio.Queue()
        self.over = asyncio.Event()

    async def Run(self, stream: grpclib.server.Stream[Packet, Packet]) -> None:
        self.calls.put_nowait(Call(cast("Stream", stream._stream)))
        await self.over.wait()


@dataclass(slots=True)
class Server:
    """Served by grpctest on our engine; connections are counted by `faults`."""

    address: Address
    faults: Faults
    script: Script

    async def call(self) -> Call:
        """The next call."""
        async with asyncio.timeout(SECONDS):
            return await self.script.calls.get()

    async def connected(self, count: int) -> None:
        """Waits until the client has made this number of connections."""
        async with asyncio.timeout(SECONDS):
            await self.faults.connected(count)


@asynccontextmanager
async def serving(
    *, tls: ssl.SSLContext | None = None, port: int = 0, faults: Faults | None = None
) -> AsyncIterator[Server]:
    script, faults = Script(), faults or Faults()
    async with AsyncExitStack() as stack:
        sc = await stack.enter_async_context(serve(script, transport="app", port=port, faults=None if tls else faults))
        address = sc.address
        if tls is not None:
            address = await stack.enter_async_context(front(address.host, address.port, faults, tls=tls))
        yield Server(address, faults, script)
        script.over.set()
