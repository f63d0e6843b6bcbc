"""The payload of a call as a transport, the portable way: one protobuf message per chunk.

It works over every grpclib server stream, so under any ASGI server and on grpclib's own. The cut-through lane (lane.py)
replaces it where the HTTP/2 connection is ours.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from grpclib.exceptions import GRPCError, StreamTerminatedError

from pog.errors import ProtocolViolation
from pog.proto.grpcproxy_pb2 import HalfClose, Packet

if TYPE_CHECKING:
    import grpclib.server

# Two reads of a socket (64 KiB each in asyncio): one on its way, one behind it.
_HIGH_WATER = 2 * 64 * 1024
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
        self._queue: deque[Packet] = deque()
        self._queued = 0
        self._full = False
        self._wake = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._closing = False
        self._lost = False
        self._tasks: list[asyncio.Task[None]] = []

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._read(protocol), name="tunnel-read"),
            loop.create_task(self._write(protocol), name="tunnel-write"),
        ]

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self._protocol is not None
        return self._protocol

    async def _read(self, protocol: asyncio.Protocol) -> None:
        ended = False
        try:
            while (packet := await self._call.recv_message()) is not None:
                await self._reading.wait()
                match packet.WhichOneof("union"):
                    case "payload" if ended:
                        raise ProtocolViolation("payload after half_close")
                    case "payload":
                        protocol.data_received(packet.payload)
                    case "half_close":
                        ended = True
                        protocol.eof_received()
                    case other:
                        raise ProtocolViolation(f"got wrong packet type: {other}")
            await self._reading.wait()
            protocol.eof_received()
        except (GRPCError, StreamTerminatedError, ProtocolViolation) as error:
            self._lose(error)
        except Exception as error:  # grpclib raises what Python has for a message that is compressed
            self._lose(ProtocolViolation(str(error)))

    async def _write(self, protocol: asyncio.Protocol) -> None:
        try:
            while True:
                while self._queue:
                    packet = self._queue.popleft()
                    await self._call.send_message(packet)
                    self._queued -= len(packet.payload)
                    if self._full and self._queued <= _HIGH_WATER // 2:
                        self._full = False
                        protocol.resume_writing()
                if self._closing:
                    break
                self._wake.clear()
                await self._wake.wait()
            self._lose(None)
        except Exception as error:
            self._lose(error)

    def _lose(self, error: Exception | None) -> None:
        if self._lost:
            return
        self._lost = self._closing = True
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        assert self._protocol is not None
        self._protocol.connection_lost(error)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._closing:
            return
        view = memoryview(data)
        for start in range(0, len(view), _MESSAGE_BYTES):
            self._put(Packet(payload=bytes(view[start : start + _MESSAGE_BYTES])))
        if self._queued > _HIGH_WATER and not self._full:
            self._full = True
            assert self._protocol is not None
            self._protocol.pause_writing()

    def _put(self, packet: Packet) -> None:
        self._queue.append(packet)
        self._queued += len(packet.payload)
        self._wake.set()

    def get_write_buffer_size(self) -> int:
        return self._queued

    def can_write_eof(self) -> bool:
        return self._half_close

    def write_eof(self) -> None:
        self._put(Packet(half_close=HalfClose()))

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._wake.set()

    def abort(self) -> None:
        self._lose(None)

    async def finished(self) -> None:
        """Waits until what was written has been sent, or could not be; then no task is left."""
        await asyncio.gather(*self._tasks, return_exceptions=True)
