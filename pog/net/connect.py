"""Connects a socket to one of several addresses: Happy Eyeballs, RFC 8305."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import aiohappyeyeballs

from pog.net.keepalive import keep_alive
from pog.net.resolve import is_exhausted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohappyeyeballs import AddrInfoType

    from pog.net.resolve import AddrInfo, SockAddr

# RFC 8305 8: the recommended Connection Attempt Delay, seconds.
_ATTEMPT_DELAY = 0.25


async def connect_socket(addresses: Sequence[AddrInfo]) -> socket.socket:
    """A connected, non-blocking socket. The families take turns, each attempt begins 250 ms after the one before.

    Raises OSError with the errno that says most: a lack of our own, then a refusal, then a timeout, then the first one.
    """
    attempts = _Attempts()
    try:
        return await aiohappyeyeballs.start_connection(
            addresses,
            happy_eyeballs_delay=_ATTEMPT_DELAY,
            interleave=1,
            loop=cast("asyncio.AbstractEventLoop", attempts),
            socket_factory=attempts.open,
        )
    except (OSError, RuntimeError) as error:
        raise attempts.telling(error) from None


class _Attempts:
    """Makes and connects the sockets in place of the event loop, and keeps their errors: aiohappyeyeballs gives only
    their text. uvloop's own sock_connect takes a thread for each address and loses an IPv6 scope."""

    def __init__(self) -> None:
        self._errors: list[OSError] = []

    def open(self, address: AddrInfoType) -> socket.socket:
        try:
            sock = socket.socket(*address[:3])
        except OSError as error:
            self._errors.append(error)
            raise
        keep_alive(sock)
        return sock

    async def sock_connect(self, sock: socket.socket, address: SockAddr) -> None:
        try:
            await _sock_connect(sock, address)
        except OSError as error:
            self._errors.append(error)
            raise

    def telling(self, otherwise: Exception) -> OSError:
        """The error that says most about why no address answered."""
        ranked = [error for error in self._errors if is_exhausted(error)]
        for number in (errno.ECONNREFUSED, errno.ETIMEDOUT):
            ranked += [error for error in self._errors if error.errno == number]
        return next(iter(ranked + self._errors), None) or OSError(str(otherwise))


async def _sock_connect(sock: socket.socket, address: SockAddr) -> None:
    loop, descriptor = asyncio.get_running_loop(), sock.fileno()
    with suppress(BlockingIOError):
        sock.connect(address)
        return
    writable: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _set, writable)
    try:
        await writable
    finally:
        loop.remove_writer(descriptor)
    if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise OSError(number, os.strerror(number))


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def strerror(error: Exception) -> str:
    """The system's words for a failure, without the address that asyncio adds."""
    if not isinstance(error, OSError):
        return str(error) or type(error).__name__
    if error.errno and not isinstance(error, socket.gaierror | ssl.SSLError):  # these have numbers of their own
        return os.strerror(error.errno)
    return error.strerror or str(error) or type(error).__name__
