"""A server that behaves as the Go original (grpcproxy/server.go and api.go), on grpcio; and one that misbehaves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import grpc

from pog.proto.grpcproxy_pb2 import ConnectResponse, HTTPError, Packet

Run = Callable[[Iterator[Packet], Any], Iterator[Packet]]
# io.Copy's buffer.
_CHUNK = 32 << 10


@dataclass(slots=True)
class Original:
    """The original's handler: no half-close, an error at the first packet that it does not know."""

    metadata: list[dict[str, str]] = field(default_factory=list)
    authorities: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def run(self, packets: Iterator[Packet], context: Any) -> Iterator[Packet]:
        self.metadata.append({key: value for key, value in context.invocation_metadata() if isinstance(value, str)})
        # grpcio has no public name for the :authority of a call.
        self.authorities.append(context._rpc_event.call_details.host.decode())
        first = next(packets)
        if first.WhichOneof("union") != "connect_request":
            self.faults.append(f"first packet: {first}")
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"got wrong packet type: {first}")
        host, _, port = first.connect_request.host_port.rpartition(":")
        try:
            conn = socket.create_connection((host.strip("[]"), int(port)), 10)
        except OSError as error:
            # The handler returns Go's dial error, which grpc-go makes UNKNOWN.
            yield Packet(connect_response=ConnectResponse(error=HTTPError(status_code=503, error=str(error))))
            context.abort(grpc.StatusCode.UNKNOWN, str(error))
        conn.settimeout(None)
        up = threading.Thread(target=self._up, args=(packets, conn), name="up", daemon=True)
        try:
            yield Packet(connect_response=ConnectResponse())
            up.start()
            with suppress(OSError):
                while data := conn.recv(_CHUNK):
                    yield Packet(payload=data)
        finally:
            # Returning ends the call with OK, whatever the user had still to say.
            _close(conn)

    def _up(self, packets: Iterator[Packet], conn: socket.socket) -> None:
        """Stream to destination; the destination is closed at the first end or error of the stream."""
        with suppress(grpc.RpcError, OSError):
            for packet in packets:
                if packet.WhichOneof("union") != "payload":
                    self.faults.append(f"got wrong packet type: {packet.WhichOneof('union')}")
                    break
                if not packet.payload:
                    self.faults.append("got empty payload packet")
                conn.sendall(packet.payload)
        _close(conn)


def _close(conn: socket.socket) -> None:
    """Go's Close wakes a blocked Read; in Python shutdown does."""
    with suppress(OSError):
        conn.shutdown(socket.SHUT_RDWR)
    conn.close()


def answering(*packets: Packet) -> Run:
    """A handler that takes one packet, answers the given ones and ends with OK."""

    def run(incoming: Iterator[Packet], context: Any) -> Iterator[Packet]:
        next(incoming)
        yield from packets

    return run


def failing(code: grpc.StatusCode, details: str, *packets: Packet) -> Run:
    """A handler that takes one packet, answers the given ones and ends with an error."""

    def run(incoming: Iterator[Packet], context: Any) -> Iterator[Packet]:
        next(incoming)
        yield from packets
        context.abort(code, details)

    return run


@contextmanager
def serving(run: Run) -> Iterator[str]:
    """Serves HTTPProxy.Run by `run` on a free port; gives host:port."""
    handler = grpc.stream_stream_rpc_method_handler(
        run, request_deserializer=Packet.FromString, response_serializer=Packet.SerializeToString
    )
    with ThreadPoolExecutor(64, "grpc") as pool:
        server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("HTTPProxy", {"Run": handler}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(None).wait(10)
