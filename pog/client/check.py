"""What a target answers through each exit: a tunnel, TLS and one GET, each with its time.

The tunnels are real ones, as a user's; what comes behind the head of an answer is not read, but for a short text that
is nothing but an address: there are targets that tell the one who asks where it comes from.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import h11

import pog
from pog.client.exits.tls import client_context
from pog.errors import Failure, PogError
from pog.net.address import destination_of
from pog.net.connect import strerror
from pog.tunnel.ended import Ended, Reason, Side
from pog.tunnel.request import ANONYMOUS, TunnelRequest

if TYPE_CHECKING:
    from pog.client.exits.base import RunningExit
    from pog.net.address import Destination
    from pog.tunnel.request import Tunnel

# The longest text of an address (RFC 4291 2.2, with an IPv4 address at its end) and a line end.
_MOST_TEXT = 48
_READ_BYTES = 64 * 1024
# How often an exit that has only just begun to connect is looked at; seconds.
_LOOK = 0.01


@dataclass(frozen=True, slots=True)
class Target:
    """One URL. `path` is its path and query."""

    url: str
    destination: Destination
    tls: bool
    path: str

    @property
    def authority(self) -> str:
        usual = 443 if self.tls else 80
        text = str(self.destination)
        return text.removesuffix(f":{usual}") if self.destination.port == usual else text


def parse_target(text: str) -> Target:
    """A URL of http or https; a bare host is https. Raises ValueError."""
    url = text if "://" in text else f"https://{text}"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or not url.isascii():
        raise ValueError(text)
    tls = parts.scheme == "https"
    destination = destination_of(parts.hostname, parts.port or (443 if tls else 80))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isprintable() or " " in path:
        raise ValueError(text)
    return Target(url, destination, tls, path)


@dataclass(slots=True)
class Result:
    """What one exit made of one target. Times are in milliseconds, each from the end of the one before; None for what
    did not take place. `address` is what the target said of where the request came from."""

    target: str
    exit: str
    status: int | None = None
    error: str = ""
    open_ms: float | None = None
    tls_ms: float | None = None
    first_byte_ms: float | None = None
    address: str = ""

    @property
    def reachable(self) -> bool:
        """Whether there was an answer, whatever it says."""
        return self.status is not None

    @property
    def good(self) -> bool:
        return self.status is not None and self.status < 400

    def as_data(self) -> dict[str, Any]:
        return {**asdict(self), "reachable": self.reachable}


async def check(exit: RunningExit, target: Target, limit: float) -> Result:
    """Never raises for what an exit or a target does. `limit` is for all of it, in seconds."""
    result = Result(target.url, exit.name)
    try:
        async with asyncio.timeout(limit):
            await _connected(exit)
            await _check(exit, target, result)
    except TimeoutError:
        step = "tunnel" if result.open_ms is None else "TLS" if target.tls and result.tls_ms is None else "answer"
        result.error = f"no {step} within {limit:g} s"
    except (PogError, h11.ProtocolError) as error:
        result.error = str(error)
    except OSError as error:
        result.error = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else strerror(error)
    return result


async def _connected(exit: RunningExit) -> None:
    """An exit that has just been started connects; that is no part of a tunnel's time."""
    while exit.problem and not exit.down:  # noqa: ASYNC110 - an exit reports no such event, and this runs once
        await asyncio.sleep(_LOOK)


async def _check(exit: RunningExit, target: Target, result: Result) -> None:
    clock = _Clock()
    tunnel = await _opened(exit, target)
    result.open_ms = clock.lap()
    try:
        stream = _Stream(tunnel.transport)
        if target.tls:
            await stream.start_tls(target.destination.host)
            result.tls_ms = clock.lap()
        await _get(stream, target, result, clock)
    finally:
        tunnel.transport.abort()
        tunnel.on_end(Ended(Reason.DONE, Side.LOCAL, None, 0, 0))


async def _opened(exit: RunningExit, target: Target) -> Tunnel:
    """Raises PogError."""
    done: asyncio.Future[Tunnel | Failure] = asyncio.get_running_loop().create_future()
    attempt = exit.open(TunnelRequest(target.destination, ANONYMOUS, "http", "-"), done.set_result)
    try:
        found = await done
    except asyncio.CancelledError:
        attempt.cancel()
        raise
    if isinstance(found, Failure):
        raise PogError(found.text)
    return found


async def _get(stream: _Stream, target: Target, result: Result, clock: _Clock) -> None:
    """Raises h11.RemoteProtocolError, PogError, OSError."""
    http = h11.Connection(h11.CLIENT)
    headers = [("Host", target.authority), ("User-Agent", f"pog/{pog.__version__}"), ("Accept", "*/*")]
    request = h11.Request(method="GET", target=target.path, headers=[*headers, ("Connection", "close")])
    stream.write(http.send(request) + http.send(h11.EndOfMessage()))
    text = b""
    while True:
        event = http.next_event()
        if event is h11.NEED_DATA:
            data = await stream.read()
            if result.first_byte_ms is None and data:
                result.first_byte_ms = clock.lap()
            if not data and result.first_byte_ms is None:
                raise PogError("closed without an answer")
            http.receive_data(data)
        elif isinstance(event, h11.Response):
            result.status = event.status_code
        elif isinstance(event, h11.Data):
            text += bytes(event.data)
            if len(text) > _MOST_TEXT:
                return
        elif isinstance(event, h11.EndOfMessage):
            with contextlib.suppress(ValueError):
                result.address = str(ipaddress.ip_address(text.decode("latin-1").strip()))
            return
        elif not isinstance(event, h11.InformationalResponse):
            return


class _Clock:
    def __init__(self) -> None:
        self._last = time.perf_counter()

    def lap(self) -> float:
        """Milliseconds since the last call."""
        last, self._last = self._last, time.perf_counter()
        return round((self._last - last) * 1000, 1)


class _Stream(asyncio.Protocol):
    """Reads and writes a tunnel, by TLS when that was started."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._received = bytearray()
        self._changed = asyncio.Event()
        self._ended = False
        self._error: Exception | None = None
        self._tls: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._changed.set()

    def eof_received(self) -> bool:
        self._ended = True
        self._changed.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        self._changed.set()

    async def start_tls(self, name: str) -> None:
        """Raises OSError, of which ssl.SSLError is a kind, and PogError."""
        context = client_context(verify=True)
        context.set_alpn_protocols(["http/1.1"])
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        await self._tls_step(self._tls.do_handshake)

    def write(self, data: bytes) -> None:
        if self._tls is None:
            self._transport.write(data)
        else:
            self._tls.write(data)
            self._flush()

    async def read(self) -> bytes:
        """b"" at the end. Raises OSError and PogError."""
        if self._tls is None:
            return await self._raw()
        try:
            return bytes(await self._tls_step(lambda: self._tls.read(_READ_BYTES) if self._tls else b""))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def _tls_step(self, step: Any) -> Any:
        while True:
            try:
                found = step()
            except ssl.SSLWantReadError:
                self._flush()
                data = await self._raw()
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            else:
                self._flush()
                return found

    def _flush(self) -> None:
        if data := self._outgoing.read():
            self._transport.write(data)

    async def _raw(self) -> bytes:
        while not self._received and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        if not self._received and self._error is not None:
            raise PogError(str(self._error) or "the connection broke")
        data, self._received = bytes(self._received), bytearray()
        return data
