"""The one seam into Hypercorn: our HTTP/2 in the place of its own.

Hypercorn keeps sockets, TLS with ALPN, HTTP/1.1, workers, lifespan and signals. It makes an H2Protocol for a connection
that speaks HTTP/2, from the first byte (ALPN or prior knowledge) or after an Upgrade. Ours takes over the transport at
that point: from the first frame on bytes go from the socket to the session and back without Hypercorn's queues, whose
faults would break tunnels (no back pressure, one stalled reader stops all, 1,000 requests per connection).

What it relies on, beside documented names: hypercorn.protocol.H2Protocol is what ProtocolWrapper makes, `send` is a
method of the TCPServer that owns reader, writer and idle_task, and a worker listens by asyncio.start_server. A test
fails when a new version of Hypercorn differs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

import hypercorn.asyncio.run
import hypercorn.protocol
from h2.errors import ErrorCodes
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H11Protocol

from pog.http2.config import SessionConfig
from pog.http2.session import Session
from pog.server.asgi import AsgiExchange, absolute, http_scope
from pog.server.dispatch import EngineApp
from pog.server.http1 import Http1Protocol, cut_after_drain, while_connected
from pog.server.openness import HERE
from pog.server.service import TRAILERS_TIMEOUT
from pog.server.worker import WorkerAsyncio
from pog.wire.content_type import is_grpc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from grpclib.protocol import Stream as GrpclibStream
    from hypercorn.asyncio.tcp_server import TCPServer
    from hypercorn.asyncio.worker_context import AsyncioSingleTask
    from hypercorn.config import Config
    from hypercorn.events import Event
    from hypercorn.typing import AppWrapper, ConnectionState, TaskGroup, WorkerContext
    from hypercorn.typing import Event as HypercornEvent

    from pog.http2.stream import Stream
    from pog.server.asgi import Address

log = logging.getLogger("pog.server")


def install() -> None:
    """Puts our protocol in the place of Hypercorn's. Importing pog.server does it."""
    vars(hypercorn.protocol)["H2Protocol"] = h2_protocol
    vars(hypercorn.protocol)["H11Protocol"] = h11_protocol
    vars(hypercorn.asyncio.run)["asyncio"] = WorkerAsyncio(HERE)


def h2_protocol(
    app: AppWrapper, config: Config, context: WorkerContext, *arguments: Any
) -> EngineProtocol | H2Protocol:
    """Ours for an app of ours, unless it wants the portable path; Hypercorn's for any other."""
    ours = getattr(app, "app", None)
    if not isinstance(ours, EngineApp):
        return H2Protocol(app, config, context, *arguments)
    outlast_drain(config, ours)
    if not ours.portable:
        return EngineProtocol(ours, app, config, context, *arguments)
    while_connected(cut_after_drain(ours, context, arguments[-1].__self__), "http2-watch")
    return H2Protocol(app, config, context, *arguments)


def h11_protocol(app: AppWrapper, config: Config, *arguments: Any) -> Http1Protocol | H11Protocol:
    """Hypercorn's for any app, watched over for one of ours."""
    ours = getattr(app, "app", None)
    if isinstance(ours, EngineApp):
        outlast_drain(config, ours)
        return Http1Protocol(ours, app, config, *arguments)
    return H11Protocol(app, config, *arguments)


def outlast_drain(config: Config, app: EngineApp) -> None:
    """Hypercorn cuts connections at a limit of its own: it must not be reached before our drain has ended."""
    config.graceful_timeout = max(config.graceful_timeout, app.drain_timeout + 2 * TRAILERS_TIMEOUT)


class EngineProtocol:
    """One HTTP/2 connection in Hypercorn's hands. `initiate` and `handle` are what ProtocolWrapper calls; the rest of
    the work is the session's."""

    def __init__(
        self,
        app: EngineApp,
        wrapper: AppWrapper,
        config: Config,
        context: WorkerContext,
        task_group: TaskGroup,
        connection_state: ConnectionState,
        ssl: bool,
        client: Address | None,
        server: Address | None,
        send: Callable[[Event], Awaitable[None]],
    ) -> None:
        self._engine_app = app
        self._app = cast("Any", wrapper)
        self._context = context
        self._tasks = task_group
        self._scheme = "https" if ssl else "http"
        self._client = client
        self._server = server
        self._send = send
        self._owner = cast("TCPServer", send.__self__)  # type: ignore[attr-defined]
        self._session = Session(client=False, config=SessionConfig(), on_request=self._on_request)
        app.connected(self._session)

    async def initiate(self, headers: list[tuple[bytes, bytes]] | None = None, settings: bytes | None = None) -> None:
        """Takes the transport over. The arguments are those of a request with Upgrade: h2c."""
        await self._send(Updated(idle=False))  # Hypercorn's idle timeout does not apply
        self._owner.idle_task = cast("AsyncioSingleTask", _NoIdleTask())
        if headers is not None:
            self._session.upgrade(settings or b"", _request_fields(headers, self._scheme))
        _take_over(self._owner, self._session)
        self._tasks.spawn(self._end_with_worker)

    async def handle(self, event: Event) -> None:
        """Bytes that Hypercorn had read before, and the end."""
        if isinstance(event, RawData) and event.data:
            self._session.feed(event.data)
        elif isinstance(event, Closed):
            self._session.abort("closed by the server")

    def _on_request(self, stream: Stream) -> None:
        if self._engine_app.refuses(stream):
            self._session.drain()  # GOAWAY first, so that the client does not retry here
            stream.reset_nowait(ErrorCodes.REFUSED_STREAM)
            return
        content_type = dict(stream.headers or ()).get("content-type", "")
        self._tasks.spawn(self._call if is_grpc(content_type) else self._exchange, stream)

    # Each serves one request. An exception that left them would end all others of the connection.

    async def _call(self, stream: Stream) -> None:
        if stream.error is not None:
            return  # reset in the same piece of input
        try:
            await self._engine_app.dispatcher.serve(cast("GrpclibStream", stream), stream.headers or [], stream.release)
        except Exception:
            log.exception("a call failed")
        _end(stream)

    async def _exchange(self, stream: Stream) -> None:
        scope = http_scope(stream, scheme=self._scheme, client=self._client, server=self._server)
        exchange = AsgiExchange(stream, scope["method"])
        try:
            await self._app(scope, exchange.receive, exchange.send, _no_threads, _no_threads)
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not exchange.started and stream.closable:
                await exchange.send({"type": "http.response.start", "status": 500, "headers": []})
                await exchange.send({"type": "http.response.body", "body": b""})
        _end(stream)

    async def _end_with_worker(self) -> None:
        """When the worker ends: accepts no new streams, and closes with the last one or at the end of the drain."""
        terminated = asyncio.create_task(_wait(self._context.terminated), name="worker-end")
        self._session.closed.add_done_callback(lambda _: terminated.cancel())
        await asyncio.wait([terminated])
        if self._session.closed.done():
            return
        self._session.drain()
        await self._engine_app.drain()
        await asyncio.wait([self._session.closed], timeout=TRAILERS_TIMEOUT)
        self._session.abort("the server has ended")


class _NoIdleTask:
    """Replaces Hypercorn's idle timer, which knows nothing of our streams."""

    async def restart(self, *_: Any) -> None:
        pass

    async def stop(self) -> None:
        pass


class _Takeover(asyncio.Protocol):
    """Stands between a transport and the session, and passes the end on to Hypercorn's protocol, which waits for it."""

    def __init__(self, session: Session, before: asyncio.Protocol) -> None:
        self._session = session
        self._before = before
        self.data_received = session.data_received  # type: ignore[method-assign]
        self.eof_received = session.eof_received  # type: ignore[method-assign]
        self.pause_writing = session.pause_writing  # type: ignore[method-assign]
        self.resume_writing = session.resume_writing  # type: ignore[method-assign]

    def connection_lost(self, exc: Exception | None) -> None:
        self._session.connection_lost(exc)
        self._before.connection_lost(exc)


def _take_over(owner: TCPServer, session: Session) -> None:
    """Bytes that Hypercorn has read already come by `handle` as soon as this returns; those that its reader has taken
    in since come after them, so in the loop's next turn; until then nothing is read."""
    transport = cast("asyncio.Transport", owner.writer.transport)
    if transport.is_closing():
        session.abort("closed before it began")
        return
    transport.pause_reading()
    transport.set_protocol(_Takeover(session, cast("asyncio.Protocol", transport.get_protocol())))
    session.connection_made(transport)
    asyncio.get_running_loop().call_soon(_feed_buffered, owner, transport, session)


def _feed_buffered(owner: TCPServer, transport: asyncio.Transport, session: Session) -> None:
    buffered = bytes(owner.reader._buffer)  # type: ignore[attr-defined]
    owner.reader._buffer.clear()  # type: ignore[attr-defined]
    session.feed(buffered)
    if owner.reader.at_eof():
        session.eof_received()
        transport.close()
    if not transport.is_closing():
        transport.resume_reading()


def _end(stream: Stream) -> None:
    """What served the stream has returned: a response without an end is reset."""
    if stream.error is None and not stream.queue.ends:
        stream.reset_nowait(ErrorCodes.INTERNAL_ERROR)


async def _wait(event: HypercornEvent) -> None:
    await event.wait()


async def _no_threads(*_: Any) -> None:
    """For Hypercorn's wrapper of WSGI apps only."""
    raise RuntimeError("only ASGI apps are served by this engine")


def _request_fields(headers: list[tuple[bytes, bytes]], scheme: str) -> list[tuple[str, str]]:
    """The request with Upgrade as one of HTTP/2: pseudo-header fields first, those of the hop left out."""
    url = absolute(dict(headers).get(b":path", b""))
    if url is not None:  # its host counts, not the Host field's: RFC 9112 3.2.2
        kept = [field for field in headers if field[0] not in (b":path", b":authority")]
        headers = [(b":authority", url[1]), (b":path", url[2]), *kept]
    fields = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in headers]
    pseudo = [field for field in fields if field[0].startswith(":")] + [(":scheme", scheme)]
    return pseudo + [field for field in fields if not field[0].startswith(":") and field[0] not in _HOP_BY_HOP]


# RFC 9113 8.2.2, and the host that :authority repeats.
_HOP_BY_HOP = ("connection", "upgrade", "http2-settings", "keep-alive", "proxy-connection", "transfer-encoding", "host")
