"""The payload of a call as a transport, the portable way: one protobuf message per chunk.

It works over every grpclib server stream, so under any ASGI server and on grpclib's own. The cut-through lane (lane.py)
replaces it where the HTTP/2 connection is ours.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from grpclib.exceptions import GRPCError, StreamTerminatedError

from pog.errors import ProtocolViolation
from pog.proto.grpcproxy_pb2 import HalfClose, Packet

if TYPE_CHECKING:
    import grpclib.server

# Two reads of a socket (64 KiB each in asyncio): one on its way, one behind it.
_HIGH_WATER = 2 * 64 * 1024
_LOW_WATER = _HIGH_WATER // 2
# grpc-go refuses messages over 4 MiB; smaller ones let a reader begin earlier.
_MESSAGE_BYTES = 64 * 1024


class MessageTransport(asyncio.Transport):
    """One tunnel's payload over a gRPC call. Needs two tasks, which end with `close` or `abort`.

    `half_close` says that the peer announced it: then the end of our direction can be said while the other goes on.
    """

    def __init__(self, call: grpclib.server.Stream[Packet, Packet], *, half_close: bool) -> None:
        super().__init__()
        self._call = call
        self._half_close = half_close
        self._protocol: asyncio.Protocol | None = None
        # As bytes: a message for each small write would cost a hundred times what it carries.
        self._unsent = bytearray()
        self._full = False
        # Whether our direction has ended, and whether that has still to be said.
        self._eof = False
        self._eof_unsaid = False
        self._peer_ended = False
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = False
        self._lost = False
        self._tasks: list[asyncio.Task[None]] = []

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol
        if not self._tasks:
            loop = asyncio.get_running_loop()
            self._tasks = [
                loop.create_task(self._read(), name="tunnel-read"),
                loop.create_task(self._write(), name="tunnel-write"),
            ]

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._owner

    @property
    def _owner(self) -> asyncio.Protocol:
        assert self._protocol is not None
        return self._protocol

    async def _read(self) -> None:
        try:
            while not await self._read_packet():
                pass
        except (GRPCError, StreamTerminatedError, ProtocolViolation) as error:
            self._lose(error)
        except Exception as error:  # grpclib raises what Python has for a message that is compressed
            self._lose(ProtocolViolation(str(error)))

    async def _read_packet(self) -> bool:
        """Takes in one packet; whether it was the last thing that the peer says."""
        # Not asked for while nobody takes it: one packet at most waits here.
        await self._reading.wait()
        packet = await self._call.recv_message()
        await self._reading.wait()
        if self._closing:
            return packet is None  # as after a socket's close: what comes is dropped
        kind = packet.WhichOneof("union") if packet is not None else None
        if packet is not None and kind == "payload":
            if self._peer_ended:
                raise ProtocolViolation("payload after half_close")
            self._owner.data_received(packet.payload)
        elif packet is None or kind == "half_close":
            if not self._peer_ended:
                self._peer_ended = True
                self._owner.eof_received()
        else:
            raise ProtocolViolation(f"got wrong packet type: {kind}")
        return packet is None

    async def _write(self) -> None:
        try:
            while not (self._closing and not self._unsent and not self._eof_unsaid):
                await self._write_packet()
            self._lose(None)
        except Exception as error:
            self._lose(error)

    async def _write_packet(self) -> None:
        """Sends one packet, or waits for something to send."""
        if self._unsent:
            payload = bytes(self._unsent[:_MESSAGE_BYTES])
            await self._call.send_message(Packet(payload=payload))
            del self._unsent[: len(payload)]
            if self._full and len(self._unsent) <= _LOW_WATER:
                self._full = False
                self._owner.resume_writing()
        elif self._eof_unsaid:
            self._eof_unsaid = False
            await self._call.send_message(Packet(half_close=HalfClose()))
        else:
            self._wake.clear()
            await self._wake.wait()

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        self._unsent.clear()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        if self._protocol is not None:
            self._protocol.connection_lost(error)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing or self._eof:
            return
        self._unsent += data
        self._wake.set()
        if len(self._unsent) > _HIGH_WATER and not self._full:
            self._full = True
            self._owner.pause_writing()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """The limits are fixed, and small pieces that wait are joined."""

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def can_write_eof(self) -> bool:
        return self._half_close

    def write_eof(self) -> None:
        """Says the end of our direction; where the peer would not understand it, nothing happens."""
        if not (self._closing or self._eof):
            self._eof = self._eof_unsaid = self._half_close
            self._wake.set()

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """What was written goes out; what still comes is dropped."""
        self._closing = True
        self._reading.set()
        self._wake.set()

    def abort(self) -> None:
        self._lose(None)

    async def finished(self) -> None:
        """Waits until what was written has been sent, or could not be; then no task is left."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
