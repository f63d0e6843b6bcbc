"""A server that behaves as the Go original (grpcproxy/server.go and api.go), and one that misbehaves.

They are run by pog.grpctest on grpcio's server, so that nothing of ours answers our client.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field

import grpclib.server
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pog.grpctest import Serving, serve_in_thread
from pog.proto.grpcproxy_grpc import HTTPProxyBase
from pog.proto.grpcproxy_pb2 import ConnectResponse, HTTPError, Packet

Call = grpclib.server.Stream[Packet, Packet]

# io.Copy's buffer.
_CHUNK = 32 << 10


def serving(service: HTTPProxyBase) -> AbstractContextManager[Serving]:
    """Serves on a free port."""
    return serve_in_thread(service, transport="grpcio")


@dataclass(slots=True)
class Original(HTTPProxyBase):
    """The original's handler: no half-close, an error at the first packet that it does not know."""

    metadata: list[dict[str, str]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    async def Run(self, stream: Call) -> None:
        assert stream.metadata is not None
        self.metadata.append({key: value for key, value in stream.metadata.items() if isinstance(value, str)})
        first = await stream.recv_message()
        if first is None or first.WhichOneof("union") != "connect_request":
            self.faults.append(f"first packet: {first}")
            raise GRPCError(Status.FAILED_PRECONDITION, f"got wrong packet type: {first}")
        host, _, port = first.connect_request.host_port.rpartition(":")
        try:
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError as error:
            # The handler returns Go's dial error, which grpc-go makes UNKNOWN.
            reason = f"dial tcp {host}:{port}: {os.strerror(error.errno or 0)}"
            refusal = HTTPError(status_code=503, error=reason)
            await stream.send_message(Packet(connect_response=ConnectResponse(error=refusal)))
            raise GRPCError(Status.UNKNOWN, reason) from None
        await stream.send_message(Packet(connect_response=ConnectResponse()))
        up = asyncio.create_task(self._up(stream, writer), name="up")
        try:
            with suppress(OSError):
                while data := await reader.read(_CHUNK):
                    await stream.send_message(Packet(payload=data))
        finally:
            # Returning ends the call with OK, whatever the user had still to say.
            up.cancel()
            writer.close()
            await asyncio.wait([up])

    async def _up(self, stream: Call, writer: asyncio.StreamWriter) -> None:
        """Stream to destination; the destination is closed at the first end or error of the stream."""
        with suppress(OSError):
            async for packet in stream:
                if packet.WhichOneof("union") != "payload":
                    self.faults.append(f"got wrong packet type: {packet.WhichOneof('union')}")
                    break
                if not packet.payload:
                    self.faults.append("got empty payload packet")
                writer.write(packet.payload)
                await writer.drain()
        writer.close()


@dataclass(slots=True)
class Answering(HTTPProxyBase):
    """Takes one packet, answers the given ones and ends with OK, or with `error`."""

    packets: list[Packet]
    error: GRPCError | None = None

    async def Run(self, stream: Call) -> None:
        await stream.recv_message()
        for packet in self.packets:
            await stream.send_message(packet)
        if self.error is not None:
            raise self.error


class Silent(HTTPProxyBase):
    """Takes one packet and never answers."""

    async def Run(self, stream: Call) -> None:
        await stream.recv_message()
        await asyncio.Event().wait()


@dataclass(slots=True)
class Breaking(HTTPProxyBase):
    """An exit whose destination takes what comes first and resets the connection."""

    firsts: list[bytes] = field(default_factory=list)

    async def Run(self, stream: Call) -> None:
        await stream.recv_message()
        await stream.send_message(Packet(connect_response=ConnectResponse()))
        packet = await stream.recv_message()
        assert packet is not None
        self.firsts.append(packet.payload)
        raise GRPCError(Status.UNAVAILABLE, "the destination broke the connection: Connection reset by peer")


def answering(*packets: Packet) -> HTTPProxyBase:
    return Answering([*packets])


def failing(status: Status, message: str, *packets: Packet) -> HTTPProxyBase:
    return Answering([*packets], GRPCError(status, message))
