"""One exit over a real connection to a scripted server."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from grpclib.const import Status
from h2.errors import ErrorCodes

from pog.client.exits.grpc import GrpcExit
from pog.config.client import single_exit
from pog.config.exits import Login
from pog.errors import Failure, FailureKind, Refused
from pog.grpctest import Faults
from pog.http2.session import Session
from pog.net.address import Address, parse_destination
from pog.observe.metrics import Metrics
from pog.proto.grpcproxy_pb2 import ConnectResponse, HalfClose, Packet
from pog.tunnel.live import Tunnels
from pog.tunnel.request import ANONYMOUS, Tunnel, TunnelRequest
from tests.client.server import HEAD, Call, Server, serving
from tests.client.support import SECONDS, SETTINGS, open_tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pog.http2.stream import Stream
    from tests.helpers.tls import Authority


@asynccontextmanager
async def exit_to(address: Address, **changes: Any) -> AsyncIterator[GrpcExit]:
    settings = replace(SETTINGS, server_addr=address, **changes)
    exit = GrpcExit(single_exit(settings, address), Metrics("client", settings, Tunnels()))
    exit.start()
    try:
        yield exit
    finally:
        await exit.close()


class Received(asyncio.Protocol):
    """Takes what comes down a tunnel."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.eof = asyncio.Event()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self._came = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._came.set()

    def eof_received(self) -> bool:
        self.eof.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    async def until(self, size: int) -> bytes:
        async with asyncio.timeout(SECONDS):
            while len(self.data) < size:
                self._came.clear()
                await self._came.wait()
        return bytes(self.data)


async def test_a_tunnel_carries_bytes_both_ways_and_ends() -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "example.com:443"))
        call = await server.call()
        assert await call.accept() == "example.com:443"
        tunnel, received = await opening, Received()
        tunnel.set_protocol(received)
        tunnel.write(b"up")
        assert (await call.receive()).payload == b"up"
        await call.send(Packet(payload=b"down"))
        assert await received.until(4) == b"down"
        tunnel.write_eof()
        assert await call.stream.recv_data(5) == b""
        await call.send(Packet(half_close=HalfClose()))
        await call.end(Status.OK)
        async with asyncio.timeout(SECONDS):
            await received.eof.wait()
            assert await received.lost is None


async def test_bytes_right_behind_the_answer_are_not_lost() -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        call = await server.call()
        await call.accept()
        await call.send(Packet(payload=b"a banner"))
        await call.send(Packet(payload=b" in two parts"))
        tunnel, received = await opening, Received()
        tunnel.set_protocol(received)
        assert await received.until(21) == b"a banner in two parts"
        tunnel.abort()
        await received.lost


@pytest.mark.parametrize(
    "content_type", ["application/grpc+proto", "Application/GRPC", "application/grpc; charset=utf-8"]
)
async def test_fronts_may_rewrite_the_content_type_of_an_answer(content_type: str) -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        call = await server.call()
        await call.receive()
        await call.stream.send_headers([HEAD[0], ("content-type", content_type)])
        await call.send(Packet(connect_response=ConnectResponse()))
        (await opening).abort()


async def test_what_a_call_says_about_itself() -> None:
    settings = {"pog_auth": Login("me", "secret"), "server_host": "pog.example.com"}
    async with serving() as server, exit_to(server.address, **settings) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        call = await server.call()
        assert call.headers.pop("user-agent").startswith("pog/")
        assert call.headers == {
            ":method": "POST",
            ":scheme": "http",
            ":path": "/HTTPProxy/Run",
            ":authority": "pog.example.com",
            "te": "trailers",
            "content-type": "application/grpc",
            "pog-abilities": "half-close",
            "authorization": "Basic bWU6c2VjcmV0",
        }
        await call.accept()
        (await opening).abort()


@pytest.mark.parametrize(
    ("answer", "http_status", "text", "kind"),
    [
        (
            lambda call: call.refuse(502, "no such host", Status.NOT_FOUND),
            502,
            "no such host",
            "destination_unavailable",
        ),
        (lambda call: call.refuse(502, "no host", Status.NOT_FOUND, "dns"), 502, "no host", "dns_error"),
        (lambda call: call.refuse(503, "x", Status.OK, 'a";b'), 503, "x", "destination_unavailable"),
        (lambda call: call.refuse(504, "late", Status.OK), 504, "late", "connection_timeout"),
        (lambda call: call.refuse(200, "odd", Status.OK), 500, "odd", "proxy_internal_error"),
        (lambda call: call.fail(Status.UNAVAILABLE, "full"), 503, "UNAVAILABLE: full", "destination_unavailable"),
        (lambda call: call.fail(Status.UNAUTHENTICATED), 503, "CLIENT_POG_AUTH", "proxy_configuration_error"),
        (lambda call: call.fail(Status.INTERNAL, "a%20bug"), 500, "INTERNAL: a bug", "proxy_internal_error"),
        (lambda call: answered_late(call, Status.UNAVAILABLE), 503, "UNAVAILABLE", "destination_unavailable"),
        (lambda call: wrong_packet(call), 500, "got wrong packet type: payload", "proxy_internal_error"),
        (lambda call: raw(call, HEAD, b"\0\0\0\0\x02\xff\xff"), 500, "not a gRPC message", "proxy_internal_error"),
        (lambda call: raw(call, HEAD, b"\1\0\0\0\0"), 500, "not a gRPC message", "proxy_internal_error"),
        (lambda call: raw(call, HEAD, b"\0\xff\xff\xff\xff"), 500, "not a gRPC message", "proxy_internal_error"),
        (lambda call: raw(call, [(":status", "502")], b""), 503, "HTTP status 502", "destination_unavailable"),
        (lambda call: raw(call, [(":status", "404")], b""), 500, "HTTP status 404", "proxy_internal_error"),
        (lambda call: raw(call, [(":status", "200")], b""), 500, "no content type", "proxy_internal_error"),
        (lambda call: call.stream.reset(ErrorCodes.INTERNAL_ERROR), 500, "reset", "proxy_internal_error"),
    ],
)
async def test_why_a_tunnel_was_not_opened(
    answer: Callable[[Call], Awaitable[None]], http_status: int, text: str, kind: str
) -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        await answer(await server.call())
        with pytest.raises(Refused) as caught:
            await opening
        failure = caught.value.failure
        assert (failure.http_status, failure.wording.proxy_error) == (http_status, kind)
        assert text in failure.text


async def answered_late(call: Call, status: Status) -> None:
    await call.stream.send_headers(HEAD)
    await call.end(status)


async def wrong_packet(call: Call) -> None:
    await call.stream.send_headers(HEAD)
    await call.send(Packet(payload=b"?"))


async def raw(call: Call, headers: list[tuple[str, str]], data: bytes) -> None:
    await call.stream.send_headers(headers)
    await call.stream.send_data(data, end_stream=True)


async def test_a_refused_stream_is_tried_once_more() -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        await (await server.call()).stream.reset(ErrorCodes.REFUSED_STREAM)
        await (await server.call()).accept()
        (await opening).abort()
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        for _ in range(2):
            await (await server.call()).stream.reset(ErrorCodes.REFUSED_STREAM)
        with pytest.raises(Refused):
            await opening


async def test_a_connection_that_dies_under_the_request_is_replaced() -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        old = await server.call()
        old.session.abort("a fault")
        await (await server.call()).accept()
        (await opening).abort()
        assert server.faults.connections == 2


async def test_after_goaway_tunnels_go_on_and_new_ones_take_another_connection() -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        old = await server.call()
        await old.accept()
        tunnel, received = await opening, Received()
        tunnel.set_protocol(received)
        first = old.session
        first.drain()
        await server.connected(2)
        opening = asyncio.create_task(open_tunnel(exit, "h:2"))
        new = await server.call()
        assert new.session is not first
        await new.accept()
        (await opening).abort()
        await old.send(Packet(payload=b"still here"))
        assert await received.until(10) == b"still here"
        tunnel.abort()
        await received.lost
        async with asyncio.timeout(SECONDS):
            await first.closed


async def test_more_tunnels_than_one_connection_has_streams() -> None:
    async def accept_all(server: Server) -> None:
        while True:
            await (await server.call()).accept()

    async with serving(faults=Faults(max_concurrent_streams=10)) as server, exit_to(server.address) as exit:
        serving_all = asyncio.create_task(accept_all(server))
        tunnels = await asyncio.gather(*(open_tunnel(exit, f"h:{port}") for port in range(1, 41)))
        assert server.faults.connections >= 4
        serving_all.cancel()
        await asyncio.gather(serving_all, return_exceptions=True)
        for tunnel in tunnels:
            tunnel.abort()


async def test_a_cancelled_handshake_resets_its_stream() -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        call = await server.call()
        opening.cancel()
        async with asyncio.timeout(SECONDS):
            assert "0x8" in str(await call.stream.wait_lost())
        assert call.session.active == 0


async def test_an_exit_that_is_down_says_why_and_comes_back() -> None:
    async def patient(exit: GrpcExit) -> asyncio.Transport:
        while True:
            try:
                return await open_tunnel(exit, "h:1")
            except Refused:
                continue

    async with serving() as server:
        address = server.address
    async with exit_to(address, exit_wait=0.3) as exit:
        with pytest.raises(Refused, match="(?i)refused"):
            await open_tunnel(exit, "h:1")
        async with serving(port=address.port) as server:
            opening = asyncio.create_task(patient(exit))
            await (await server.call()).accept()
            (await opening).abort()


async def test_a_server_that_drops_its_connections_is_not_dialled_in_a_loop(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opening = asyncio.create_task(open_tunnel(exit, "h:1"))
        await (await server.call()).accept()
        (await opening).abort()
        await server.connected(1)
        server.faults.reset()
        dropped = time.monotonic()
        await server.connected(2)
        assert time.monotonic() - dropped > 0.7, "a second, give or take a fifth"
    assert "connection lost: " in caplog.text


async def test_a_server_that_does_not_speak_http2_is_named_so() -> None:
    async def http1(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    listener = await asyncio.start_server(http1, "127.0.0.1", 0)
    address = Address("127.0.0.1", listener.sockets[0].getsockname()[1])
    async with exit_to(address, exit_wait=0.3) as exit:
        with pytest.raises(Refused, match=r"speaks HTTP/1\.1 only"):
            await open_tunnel(exit, "h:1")
    listener.close()


async def test_tls_with_the_systems_authorities(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))

    async with serving(tls=authority.server_context("h2")) as server:
        async with exit_to(server.address, insecure=False, server_host="localhost:443") as exit:
            opening = asyncio.create_task(open_tunnel(exit, "h:1"))
            call = await server.call()
            assert (call.headers[":scheme"], call.headers[":authority"]) == ("https", "localhost:443")
            await call.accept()
            (await opening).abort()
        async with exit_to(server.address, insecure=False, server_host="wrong.example", exit_wait=0.3) as exit:
            with pytest.raises(Refused, match=r"certificate is not good for wrong\.example"):
                await open_tunnel(exit, "h:1")


async def test_tls_of_an_unknown_authority_only_when_told_so(authority: Authority) -> None:
    async with serving(tls=authority.server_context("h2")) as server:
        async with exit_to(server.address, insecure=False, exit_wait=0.3) as exit:
            with pytest.raises(Refused, match="certificate is not good for 127"):
                await open_tunnel(exit, "h:1")
        async with exit_to(server.address, insecure=False, skip_verify=True) as exit:
            opening = asyncio.create_task(open_tunnel(exit, "h:1"))
            await (await server.call()).accept()
            (await opening).abort()


@asynccontextmanager
async def plain_http2() -> AsyncIterator[tuple[Address, asyncio.Queue[Stream]]]:
    """HTTP/2 without gRPC: requests wait in a queue for the test."""
    requests: asyncio.Queue[Stream] = asyncio.Queue()

    def accept() -> Session:
        return Session(client=False, on_request=requests.put_nowait)

    listener = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
    try:
        yield Address("127.0.0.1", listener.sockets[0].getsockname()[1]), requests
    finally:
        listener.close()


async def test_a_page_of_the_server() -> None:
    async with plain_http2() as (address, requests), exit_to(address) as exit:
        fetching = asyncio.create_task(exit.fetch("/metrics"))
        page = await requests.get()
        fields = dict(page.headers or ())
        assert (fields[":method"], fields[":path"]) == ("GET", "/metrics")
        await page.send_headers([(":status", "200")])
        await page.send_data(b"one\n")
        await page.send_data(b"two\n", end_stream=True)
        assert await fetching == (200, b"one\ntwo\n")
        fetching = asyncio.create_task(exit.fetch("/metrics"))
        page = await requests.get()
        await page.send_headers([(":status", "200")])
        await page.send_data(b"one\n")
        await page.sent()
        await page.reset(ErrorCodes.INTERNAL_ERROR)
        assert await fetching == (200, None)


async def test_first_bytes_go_with_the_request_and_once_more_with_the_second_try() -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opened: asyncio.Future[Tunnel | Failure] = asyncio.get_running_loop().create_future()
        request = TunnelRequest(parse_destination("h:1"), ANONYMOUS, "http", "127.0.0.1:1")
        attempt = exit.open(request, opened.set_result)
        attempt.write(b"hello, ")
        first = await server.call()
        assert (await first.receive()).connect_request.host_port == "h:1"
        assert (await first.receive()).payload == b"hello, "
        attempt.write(b"world")
        assert (await first.receive()).payload == b"world"
        first.stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
        second = await server.call()
        assert (await second.receive()).connect_request.host_port == "h:1"
        assert [(await second.receive()).payload for _ in range(2)] == [b"hello, ", b"world"]
        assert not opened.done()
        attempt.write(b"!")
        assert (await second.receive()).payload == b"!"
        await second.stream.send_headers(HEAD)
        await second.send(Packet(connect_response=ConnectResponse()))
        tunnel, received = await opened, Received()
        assert isinstance(tunnel, Tunnel)
        tunnel.transport.set_protocol(received)
        tunnel.transport.write(b"more")
        assert (await second.receive()).payload == b"more"
        tunnel.transport.abort()
        await received.lost


async def test_first_bytes_are_not_sent_twice_when_the_first_may_have_arrived() -> None:
    async with serving() as server, exit_to(server.address) as exit:
        opened: asyncio.Future[Tunnel | Failure] = asyncio.get_running_loop().create_future()
        request = TunnelRequest(parse_destination("h:1"), ANONYMOUS, "http", "127.0.0.1:1")
        attempt = exit.open(request, opened.set_result)
        attempt.write(b"POST / HTTP/1.1")
        call = await server.call()
        call.session.abort("a fault")
        failure = await opened
        assert isinstance(failure, Failure)
        assert failure.kind is FailureKind.EXIT_UNAVAILABLE
        assert server.script.calls.empty()
