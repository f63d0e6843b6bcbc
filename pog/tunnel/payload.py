"""Chooses what carries a server call's payload after the handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pog.http2.stream import Stream
from pog.tunnel.lane import LaneTransport
from pog.tunnel.messages import MessageTransport

if TYPE_CHECKING:
    import grpclib.server

    from pog.proto.grpcproxy_pb2 import Packet

PayloadTransport = LaneTransport | MessageTransport


def open_payload(call: grpclib.server.Stream[Packet, Packet], *, half_close: bool) -> PayloadTransport:
    """The payload of `call` as a transport. `half_close`: the peer announced that ability."""
    stream: object = call._stream
    if isinstance(stream, Stream):
        return LaneTransport(stream, half_close=half_close)
    return MessageTransport(call, half_close=half_close)
