"""grpcio as an independent client of a pog server: every service, and a tunnel packet by packet."""

from __future__ import annotations

import json
import queue
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import grpc

from pog.proto import gstacks_pb2, healthcheck_pb2
from pog.proto.grpcproxy_pb2 import ConnectRequest, Packet

if TYPE_CHECKING:
    from collections.abc import Iterator

Metadata = tuple[tuple[str, str], ...]
SECONDS = 15.0
_END = object()


@contextmanager
def channel(host_port: str) -> Iterator[grpc.Channel]:
    """A plain-text connection of its own: no proxy variables, no sharing between tests."""
    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(host_port, options=options) as opened:
        yield opened


def health(opened: grpc.Channel, metadata: Metadata = ()) -> dict[str, Any]:
    call = opened.unary_unary(
        "/healthcheck.Healthcheck/Invoke",
        request_serializer=healthcheck_pb2.Request.SerializeToString,
        response_deserializer=healthcheck_pb2.Response.FromString,
    )
    answer: dict[str, Any] = json.loads(call(healthcheck_pb2.Request(), timeout=SECONDS, metadata=metadata).data)
    return answer


def stacks(opened: grpc.Channel, metadata: Metadata = ()) -> str:
    call = opened.unary_unary(
        "/gstacks.GoroutineStacks/Invoke",
        request_serializer=gstacks_pb2.Request.SerializeToString,
        response_deserializer=gstacks_pb2.Response.FromString,
    )
    text: str = call(gstacks_pb2.Request(), timeout=SECONDS, metadata=metadata).data
    return text


def tasks(host_port: str) -> dict[str, int]:
    """What the asyncio tasks of the process run: coroutine → count. The asking connection and call are among them."""
    with channel(host_port) as opened:
        text = stacks(opened)
    found: dict[str, int] = {}
    for name in re.findall(r"^task .*\]: (\S+)", text, re.MULTILINE):
        found[name] = found.get(name, 0) + 1
    return found


class Tunnel:
    """One call of HTTPProxy.Run; packets go out as they are given and come in one by one."""

    def __init__(self, opened: grpc.Channel, metadata: Metadata = (), timeout: float = SECONDS) -> None:
        self._out: queue.SimpleQueue[object] = queue.SimpleQueue()
        run = opened.stream_stream(
            "/HTTPProxy/Run",
            request_serializer=Packet.SerializeToString,
            response_deserializer=Packet.FromString,
        )
        self.call = run(iter(self._out.get, _END), metadata=metadata, timeout=timeout)

    def send(self, packet: Packet) -> None:
        self._out.put(packet)

    def connect(self, host_port: str) -> None:
        self.send(Packet(connect_request=ConnectRequest(host_port=host_port)))

    def payload(self, data: bytes) -> None:
        self.send(Packet(payload=data))

    def end(self) -> None:
        """No more packets up (CloseSend)."""
        self._out.put(_END)

    def next(self) -> Packet:
        packet: Packet = next(self.call)
        return packet

    def rest(self) -> list[Packet]:
        """All packets until the call ends with OK; raises grpc.RpcError at any other status."""
        return list(self.call)

    def status(self) -> tuple[grpc.StatusCode, str]:
        """How the call ended; waits for it."""
        return self.call.code(), self.call.details()

    def cancel(self) -> None:
        self.call.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self.cancel()
