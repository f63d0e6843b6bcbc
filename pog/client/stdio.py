"""One tunnel joined to standard input and output, for `pog connect`.

    standard input  -- thread --> socket pair -- Relay --> tunnel
    standard output <-- thread -- socket pair <-- Relay -- tunnel

What stands behind the two may be a pipe, a file, a terminal or a device, and an event loop can wait for some of these
only. So a thread each reads and writes them, and to the relay the other end of the socket pair is a user's socket as
any: half-close, back pressure and limits are the relay's.

A thread that waits for input cannot be interrupted. It is a daemon, and the process ends without it.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from pog.client.exits.kinds import make_exits
from pog.errors import Failure, Refused, TunnelError
from pog.net.connect import strerror
from pog.observe.metrics import Metrics
from pog.process.stdio import lead_nowhere
from pog.tunnel.ended import Ended, Reason
from pog.tunnel.live import Tunnels
from pog.tunnel.relay import Relay
from pog.tunnel.request import ANONYMOUS, Tunnel, TunnelRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.config.client_settings import ClientSettings
    from pog.net.address import Destination
    from pog.tunnel.request import Exit

    Failed = Callable[[OSError], None]

# As much as a pipe holds on Linux (man 7 pipe).
_READ_BYTES = 64 * 1024
_RECEIVE_BYTES = 256 * 1024


async def connect(settings: ClientSettings, destination: Destination, stdin: int = 0, stdout: int = 1) -> None:
    """Opens a tunnel and joins it to two descriptors until both directions have ended.

    When the destination's part has ended, `stdout` leads to /dev/null. Raises Refused when there is no tunnel,
    TunnelError when it breaks off, and OSError when a descriptor cannot be read or written.
    """
    tunnels = Tunnels()
    metrics = Metrics("client", settings, tunnels)
    exit = make_exits(settings, metrics, tunnels)
    exit.start()
    try:
        tunnel = await _opened(exit, TunnelRequest(destination, ANONYMOUS, "stdio", "-"))
        await _joined(tunnel, settings, destination, stdin, stdout)
    finally:
        await exit.close()
        metrics.close()


async def _opened(exit: Exit, request: TunnelRequest) -> Tunnel:
    done: asyncio.Future[Tunnel | Failure] = asyncio.get_running_loop().create_future()
    attempt = exit.open(request, done.set_result)
    try:
        result = await done
    except asyncio.CancelledError:
        attempt.cancel()
        raise
    if isinstance(result, Failure):
        raise Refused(result)
    return result


async def _joined(tunnel: Tunnel, settings: ClientSettings, destination: Destination, stdin: int, stdout: int) -> None:
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, near)
    over, written = asyncio.Event(), asyncio.Event()
    problems: list[OSError] = []
    relay = Relay(
        transport,
        tunnel.transport,
        idle_timeout=settings.idle_timeout,
        half_close_timeout=settings.half_close_timeout,
        on_end=lambda _: over.set(),
    )

    def failed(error: OSError) -> None:
        problems.append(error)
        relay.stop(Reason.RESET, error)

    relay.start()
    say_failed = _from_thread(loop, failed)
    _thread("standard input", _send, stdin, far.dup(), say_failed)
    _thread("standard output", _receive, far, stdout, say_failed, _from_thread(loop, written.set))
    try:
        await over.wait()
        answered = written.is_set()
        await written.wait()
    finally:
        relay.stop(Reason.CANCELLED)
        how = relay.ended
        assert how is not None
        if how.reason is not Reason.DONE:
            tunnel.transport.abort()
        tunnel.on_end(how)
    if problems:
        raise problems[0]
    # Somebody who has got the whole answer and says nothing more, as at a terminal, misses nothing.
    if how.reason is not Reason.DONE and not (how.reason is Reason.HALF_CLOSED and answered):
        raise TunnelError(f"the tunnel to {destination} broke off: {_why(how, settings)}")


def _why(how: Ended, settings: ClientSettings) -> str:
    if how.reason is Reason.IDLE:
        return f"nothing came or went for {settings.idle_timeout:g} s (TUNNEL_IDLE_TIMEOUT)"
    if how.reason is Reason.HALF_CLOSED:
        limit = f"{settings.half_close_timeout:g} s (TUNNEL_HALF_CLOSE_TIMEOUT)"
        return f"one direction has ended, and nothing came in the other one for {limit}"
    return strerror(how.error) if how.error is not None else how.reason.value


# In threads of their own.


def _thread(name: str, work: Callable[..., None], *args: object) -> None:
    threading.Thread(target=work, args=args, name=name, daemon=True).start()


def _from_thread(loop: asyncio.AbstractEventLoop, call: Callable[..., object]) -> Callable[..., None]:
    def called(*args: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody wants to know any more
            loop.call_soon_threadsafe(call, *args)

    return called


def _send(stdin: int, sock: socket.socket, failed: Failed) -> None:
    with sock:
        try:
            while data := _read(stdin):
                try:
                    sock.sendall(data)
                except OSError:  # the relay has ended
                    return
        except OSError as error:
            failed(OSError(error.errno, error.strerror, "standard input"))
            return
        with suppress(OSError):
            sock.shutdown(socket.SHUT_WR)


def _receive(sock: socket.socket, stdout: int, failed: Failed, done: Callable[[], None]) -> None:
    with sock:
        try:
            while data := _received(sock):
                _write(stdout, data)
            _end(stdout)
        except OSError as error:
            failed(OSError(error.errno, error.strerror, "standard output"))
        finally:
            done()


def _received(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_RECEIVE_BYTES)
    except OSError:  # the relay was stopped with input unread
        return b""


# Another process that shares a terminal or a socket with us may have made it non-blocking.


def _read(descriptor: int) -> bytes:
    while True:
        try:
            return os.read(descriptor, _READ_BYTES)
        except BlockingIOError:
            select.select([descriptor], [], [])


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(descriptor, rest) :]
        except BlockingIOError:
            select.select([], [descriptor], [])


def _end(stdout: int) -> None:
    """Says the end to its reader; a socket may be standard input too, which goes on."""
    if stat.S_ISSOCK(os.fstat(stdout).st_mode):
        with socket.socket(fileno=os.dup(stdout)) as sock, suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
    lead_nowhere(stdout)
