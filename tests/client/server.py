"""A server of the tunnel service on our HTTP/2 engine, whose every step is the test's."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pog.http2.config import SessionConfig
from pog.http2.session import Session
from pog.proto.grpcproxy_pb2 import ConnectResponse, HTTPError, Packet
from pog.values import Address
from tests.client.support import SECONDS

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator

    from grpclib.const import Status

    from pog.http2.stream import Stream

HEAD = [(":status", "200"), ("content-type", "application/grpc"), ("pog-abilities", "half-close")]


class Call:
    """One call of the client, as the server sees it."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.headers = dict(stream.headers or ())

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

    async def refuse(self, http_status: int, text: str, status: Status, error_type: str = "") -> None:
        """As a server does whose dial failed."""
        await self.stream.send_headers([*HEAD, *([("pog-error", error_type)] if error_type else [])])
        await self.send(Packet(connect_response=ConnectResponse(error=HTTPError(status_code=http_status, error=text))))
        await self.end(status, text)

    async def end(self, status: Status, message: str = "") -> None:
        await self.stream.send_headers([("grpc-status", str(status.value)), ("grpc-message", message)], end_stream=True)

    async def fail(self, status: Status, message: str = "") -> None:
        """Ends the call with an answer that is trailers alone."""
        trailers = [("grpc-status", str(status.value)), ("grpc-message", message)]
        await self.stream.send_headers([*HEAD[:2], *trailers], end_stream=True)


class Server:
    """Listens on a free port of loopback."""

    def __init__(self, config: SessionConfig) -> None:
        self._config = config
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        self._accepted: asyncio.Queue[Session] = asyncio.Queue()
        self.sessions: list[Session] = []
        self.address = Address("", 0)

    def session(self) -> Session:
        session = Session(
            client=False, config=self._config, on_request=lambda stream: self._calls.put_nowait(Call(stream))
        )
        self.sessions.append(session)
        self._accepted.put_nowait(session)
        return session

    async def call(self) -> Call:
        """The next call."""
        async with asyncio.timeout(SECONDS):
            return await self._calls.get()

    async def accepted(self) -> Session:
        """The next connection."""
        async with asyncio.timeout(SECONDS):
            return await self._accepted.get()


@asynccontextmanager
async def serving(
    *, tls: ssl.SSLContext | None = None, port: int = 0, config: SessionConfig | None = None
) -> AsyncIterator[Server]:
    server = Server(config or SessionConfig())
    listener = await asyncio.get_running_loop().create_server(server.session, "127.0.0.1", port, ssl=tls)
    server.address = Address("127.0.0.1", listener.sockets[0].getsockname()[1])
    try:
        yield server
    finally:
        listener.close()
        for session in server.sessions:
            session.abort("the test is over")
