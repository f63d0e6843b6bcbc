"""`serve`: every transport carries calls of every kind, and leaves nothing."""

from __future__ import annotations

import asyncio
import http.client
import re
import ssl
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from grpclib.exceptions import GRPCError, StreamTerminatedError

import pog.http2.stream
from pog.grpctest import Faults, LeftRunning, MissingExtra, Transport, serve, serving, tls
from pog.grpctest.leftovers import tasks_left
from pog.server.bridge import AsgiStream
from tests.grpctest.services import Echo, EchoStub, say
from tests.grpctest.support import ASYNCIO, BOTH_LOOPS, call, session

if TYPE_CHECKING:
    from typing import Any

    import grpclib.server
    from grpclib.const import Handler

pytestmark = ASYNCIO
TRANSPORTS = pytest.mark.parametrize("transport", list(Transport))
SOCKETS = pytest.mark.parametrize("transport", [each for each in Transport if each is not Transport.MEMORY])
ALL = pytest.mark.parametrize("faulty", [False, True], ids=["direct", "through-faults"])


@BOTH_LOOPS
@ALL
@TRANSPORTS
async def test_calls(transport: Transport, faulty: bool) -> None:
    service = Echo()
    async with serve(service, transport=transport, faults=Faults() if faulty else None) as sc:
        stub = EchoStub(sc.channel)
        assert await say(sc.channel) == "hello"
        assert service.peers[0] is not None
        async with stub.Talk.open() as stream:
            for word in ("one", "two", "three"):
                await stream.send_message(StringValue(value=word))
                assert (await stream.recv_message()) == StringValue(value=word)
            await stream.end()
            assert await stream.recv_message() is None
        many = await asyncio.gather(*(say(sc.channel, str(number)) for number in range(50)))
        assert many == [str(number) for number in range(50)]
        size = 3_000_000
        assert (await stub.Count(BytesValue(value=bytes(size)))).value == b"%d" % size


@ALL
@SOCKETS
async def test_an_independent_client(transport: Transport, faulty: bool) -> None:
    async with serve(Echo(), transport=transport, faults=Faults() if faulty else None) as sc:
        channel = sc.grpcio_channel()
        once = channel.unary_unary("/test.Echo/Once", StringValue.SerializeToString, StringValue.FromString)
        assert await once(StringValue(value="x"), timeout=10) == StringValue(value="x")
        talk = channel.stream_stream("/test.Echo/Talk", StringValue.SerializeToString, StringValue.FromString)
        words = [StringValue(value=str(number)) for number in range(10)]
        assert [word async for word in talk(iter(words), timeout=10)] == words


async def test_the_address() -> None:
    async with serve(Echo()) as sc:
        assert sc.address.host == "127.0.0.1"
        assert str(sc.address) == f"127.0.0.1:{sc.address.port}"
        port = sc.address.port
    for transport in (Transport.TLS, Transport.APP, Transport.TCP):
        async with serve(Echo(), transport=transport, port=port) as sc:
            assert sc.address.port == port
            assert await say(sc.channel) == "hello"
            with pytest.raises(OSError, match="in use"):
                async with serve(Echo(), port=port):
                    pass
    async with serve(Echo(), transport="memory") as sc:
        with pytest.raises(LookupError):
            _ = sc.address
        with pytest.raises(LookupError):
            sc.grpcio_channel()


async def test_several_services_and_several_servers() -> None:
    class Other:
        async def once(self, stream: grpclib.server.Stream[StringValue, StringValue]) -> None:
            await stream.recv_message()
            await stream.send_message(StringValue(value="other"))

        def __mapping__(self) -> dict[str, Handler]:
            once = Echo().__mapping__()["/test.Echo/Once"]
            return {"/test.Other/Once": once._replace(func=self.once)}

    async with serve(Echo(), Other()) as both, serve(Other(), transport="memory") as one:
        assert await say(both.channel) == "hello"
        for sc in (both, one):
            stub = EchoStub(sc.channel).Once
            stub.name = "/test.Other/Once"
            assert (await stub(StringValue())).value == "other"
        with pytest.raises(GRPCError):
            await say(one.channel)


async def test_tls_is_judged_by_the_certificate() -> None:
    async with serve(Echo(), transport=Transport.TLS) as sc:
        assert sc.ca_pem is not None
        trusting = ssl.create_default_context(cadata=sc.ca_pem.decode())
        trusting.set_alpn_protocols(["h2"])
        for name in ("localhost", "127.0.0.1"):
            _, writer = await asyncio.open_connection("127.0.0.1", sc.address.port, ssl=trusting, server_hostname=name)
            assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "h2"
            writer.transport.abort()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", sc.address.port, ssl=ssl.create_default_context())


async def test_the_app_is_the_one_that_pog_serves() -> None:
    """The same engine below, the same answers to what is no call."""

    class Looking(Echo):
        streams: list[object] = []

        async def once(self, stream: grpclib.server.Stream[StringValue, StringValue]) -> None:
            self.streams.append(stream._stream)
            await super().once(stream)

    async with serve(Looking(), transport=Transport.APP) as sc:
        await say(sc.channel)
        assert isinstance(Looking.streams[0], pog.http2.stream.Stream)
        assert not isinstance(Looking.streams[0], AsgiStream)

        def ask(method: str, path: str, fields: dict[str, str]) -> int:
            connection = http.client.HTTPConnection(sc.address.host, sc.address.port, timeout=10)
            connection.request(method, path, headers=fields)
            status = connection.getresponse().status
            connection.close()
            return status

        assert await asyncio.to_thread(ask, "GET", "/", {}) == 404
        grpc = {"content-type": "application/grpc", "te": "trailers"}
        assert await asyncio.to_thread(ask, "POST", "/test.Echo/Once", grpc) == 505


@BOTH_LOOPS
@ALL
@TRANSPORTS
async def test_the_end_cuts_what_is_open(transport: Transport, faulty: bool) -> None:
    """A call of the channel, a call of another client, and a connection without any."""

    service = Echo()
    async with serve(service, transport=transport, faults=Faults() if faulty else None) as sc:
        waits = asyncio.create_task(EchoStub(sc.channel).Wait(StringValue()))
        await service.waiting.wait()
        other, idle = await session(sc), await session(sc)
        stream = call(other, "/test.Echo/Wait")
        service.waiting.clear()
        await stream.send_data(b"\0\0\0\0\0")
        await service.waiting.wait()
    assert other.closed.done() or await other.closed
    assert idle.closed.done() or await idle.closed
    assert service.cancelled == 2
    with pytest.raises((StreamTerminatedError, GRPCError)):
        await waits


async def test_a_channel_of_grpcio_may_be_left_to_the_end() -> None:
    service = Echo()
    async with serve(service) as sc:
        wait = sc.grpcio_channel().unary_unary("/test.Echo/Wait")(b"")
        await service.waiting.wait()
    with pytest.raises(asyncio.CancelledError):
        await wait


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.MEMORY, Transport.APP, Transport.GRPCIO])
async def test_a_call_that_does_not_end_is_named(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "END", 0.2)
    enough = asyncio.Event()

    class Stubborn(Echo):
        async def wait(self, stream: grpclib.server.Stream[StringValue, StringValue]) -> None:
            self.waiting.set()
            while not enough.is_set():
                with suppress(asyncio.CancelledError):
                    await enough.wait()

    service = Stubborn()
    try:
        with pytest.raises(LeftRunning) as caught:
            async with serve(service, transport=transport) as sc:
                waits = asyncio.create_task(EchoStub(sc.channel).Wait(StringValue()))
                await service.waiting.wait()
    finally:
        enough.set()
    assert isinstance(caught.value, AssertionError)
    assert re.search(r"task /test.Echo/Wait: .*Stubborn.wait, at .*test_serving\.py:\d+", caught.value.names[0])
    await asyncio.wait([waits])
    assert waits.exception() is not None
    assert await tasks_left(5) == []


class Busy(Echo):
    """Starts something and forgets it."""

    def __init__(self) -> None:
        super().__init__()
        self.task: asyncio.Task[Any] | None = None

    async def once(self, stream: grpclib.server.Stream[StringValue, StringValue]) -> None:
        self.task = asyncio.create_task(asyncio.sleep(1000), name="forgotten")
        await super().once(stream)


@BOTH_LOOPS
@TRANSPORTS
async def test_a_task_that_a_service_leaves_is_named(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "END", 0.2)

    service = Busy()
    with pytest.raises(LeftRunning) as caught:
        async with serve(service, transport=transport) as sc:
            await say(sc.channel)
    assert [name.split(",")[0] for name in caught.value.names] == ["task forgotten: sleep"]
    assert service.task is not None
    assert service.task.cancelled()


async def test_the_tests_own_failure_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "END", 0.2)

    with pytest.raises(ZeroDivisionError) as caught:
        async with serve(Busy(), transport="memory") as sc:
            await say(sc.channel)
            _ = 1 / 0
    assert caught.value.__notes__[0].startswith("left running: task forgotten: sleep")


@TRANSPORTS
async def test_the_tests_own_tasks_are_not_the_servers(transport: Transport) -> None:
    """A client that outlives its server is an ordinary test."""
    async with serve(Echo(), transport=transport) as sc:
        await say(sc.channel)
        task = asyncio.create_task(asyncio.Event().wait())
        await say(sc.channel)
    task.cancel()
    await asyncio.wait([task])


async def test_servers_may_end_in_any_order() -> None:
    first, second = serve(Echo(), transport="app"), serve(Echo(), transport="app")
    await first.__aenter__()
    sc = await second.__aenter__()
    await first.__aexit__(None, None, None)
    assert await say(sc.channel) == "hello"
    await second.__aexit__(None, None, None)


async def test_begin_and_end_may_be_in_two_tasks() -> None:
    """As in the fixtures of some plugins."""
    serving = serve(Echo(), transport="app")
    sc = await asyncio.create_task(serving.__aenter__())
    assert await asyncio.create_task(say(sc.channel)) == "hello"
    await asyncio.create_task(serving.__aexit__(None, None, None))


async def test_what_is_not_installed_is_said_when_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trustme", None)
    monkeypatch.setitem(sys.modules, "grpc.aio", None)
    tls.throw_away.cache_clear()

    async with serve(Echo()) as sc:
        assert await say(sc.channel) == "hello"
        with pytest.raises(MissingExtra, match=r"needs grpcio: pip install 'grpcio'"):
            sc.grpcio_channel()
    with pytest.raises(MissingExtra, match=r"needs trustme: pip install 'trustme'"):
        async with serve(Echo(), transport="tls"):
            pass
