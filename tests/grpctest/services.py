"""Services of the tests, with messages that every protobuf installation has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from grpclib.client import StreamStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler

if TYPE_CHECKING:
    import grpclib.server
    from grpclib.client import Channel

    Strings = grpclib.server.Stream[StringValue, StringValue]
    Bytes = grpclib.server.Stream[BytesValue, BytesValue]


class Echo:
    """Once says it back once; Talk until the caller has no more; Wait never answers; Count says how much came."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.cancelled = 0
        self.peers: list[object] = []

    async def once(self, stream: Strings) -> None:
        message = await stream.recv_message()
        assert message is not None
        assert stream.peer is not None
        self.peers.append(stream.peer.addr())
        await stream.send_message(message)

    async def talk(self, stream: Strings) -> None:
        async for message in stream:
            await stream.send_message(message)

    async def wait(self, stream: Strings) -> None:
        await stream.recv_message()
        self.waiting.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def count(self, stream: Bytes) -> None:
        message = await stream.recv_message()
        assert message is not None
        await stream.send_message(BytesValue(value=b"%d" % len(message.value)))

    def __mapping__(self) -> dict[str, Handler]:
        return {
            "/test.Echo/Once": Handler(self.once, Cardinality.UNARY_UNARY, StringValue, StringValue),
            "/test.Echo/Talk": Handler(self.talk, Cardinality.STREAM_STREAM, StringValue, StringValue),
            "/test.Echo/Wait": Handler(self.wait, Cardinality.UNARY_UNARY, StringValue, StringValue),
            "/test.Echo/Count": Handler(self.count, Cardinality.UNARY_UNARY, BytesValue, BytesValue),
        }


class EchoStub:
    def __init__(self, channel: Channel) -> None:
        self.Once = UnaryUnaryMethod(channel, "/test.Echo/Once", StringValue, StringValue)
        self.Talk = StreamStreamMethod(channel, "/test.Echo/Talk", StringValue, StringValue)
        self.Wait = UnaryUnaryMethod(channel, "/test.Echo/Wait", StringValue, StringValue)
        self.Count = UnaryUnaryMethod(channel, "/test.Echo/Count", BytesValue, BytesValue)


async def say(channel: Channel, text: str = "hello", seconds: float = 10) -> str:
    """One call of Once, and what it answers."""
    return (await EchoStub(channel).Once(StringValue(value=text), timeout=seconds)).value
