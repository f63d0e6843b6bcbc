"""TLS with users: connections are accepted one by one, so that the handshakes under way have a limit and those that
fail are told; a server of asyncio has neither.

A handshake that fails for what the other side sent is one line of the log. Who connects and leaves without a word, as
health checks do, is none.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from functools import partial
from typing import TYPE_CHECKING

from pog.net.address import peer_text

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

log = logging.getLogger(__name__)

# At the limit others wait in the kernel's queue. A handshake takes a millisecond or two of CPU time, and some round
# trips of waiting.
_LIMIT = 64
# After an accept that failed for want of descriptors or memory. Seconds.
_RECOVERY = 1.0

# By the reasons of OpenSSL for what is no TLS.
_NOT_TLS = {
    "HTTP_REQUEST": "this endpoint is TLS; its address as a proxy begins with https://, not http://",
    "HTTPS_PROXY_REQUEST": "this endpoint is TLS; its address as a proxy begins with https://, not http://",
    "WRONG_VERSION_NUMBER": "this endpoint is TLS, and what came is not",
}


class Handshakes:
    """All of one listener; `timeout` is the limit of each in seconds. `factory` makes the protocol of a connection."""

    def __init__(self, factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext, timeout: float) -> None:
        self._factory = factory
        self._context = context
        self._timeout = timeout
        self._room = asyncio.Semaphore(_LIMIT)
        self._tasks: set[asyncio.Task[None]] = set()
        self._unbegun: set[socket.socket] = set()

    def serve(self, sock: socket.socket) -> TlsServer:
        """Accepts on a non-blocking socket, which is its own from now on, until it is closed."""
        return TlsServer(self._start(self._accept(sock), sock, "accept for TLS"))

    async def close(self) -> None:
        """Breaks off what is under way."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, work: Coroutine[None, None, None], sock: socket.socket, name: str) -> asyncio.Task[None]:
        """`sock` is the task's; a task that is cancelled before it begins has no chance to close it."""
        self._unbegun.add(sock)
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, sock))
        return task

    def _done(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if sock in self._unbegun:
            self._unbegun.discard(sock)
            sock.close()

    async def _accept(self, listening: socket.socket) -> None:
        self._unbegun.discard(listening)
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                await self._room.acquire()
                try:
                    sock, peer = await loop.sock_accept(listening)
                except OSError as error:
                    self._room.release()
                    if not isinstance(error, ConnectionError):  # that one has ended already
                        log.error("cannot accept a connection: %s", error)
                        await asyncio.sleep(_RECOVERY)
                except BaseException:
                    self._room.release()
                    raise
                else:
                    task = self._start(self._shake_hands(sock, peer_text(peer)), sock, "TLS with a user")
                    task.add_done_callback(lambda _: self._room.release())

    async def _shake_hands(self, sock: socket.socket, remote: str) -> None:
        self._unbegun.discard(sock)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._factory, sock, ssl=self._context, ssl_handshake_timeout=self._timeout
            )
        except ssl.SSLError as error:
            reason = error.reason or "no reason given"
            said = _NOT_TLS.get(reason, reason.lower().replace("_", " "))
            log.warning("TLS with %s failed: %s", remote, said)
        except OSError as error:
            log.debug("TLS with %s: %s", remote, error or "left")


class TlsServer:
    """What accepts on one socket; `close` ends that, and leaves handshakes that are under way alone."""

    def __init__(self, accepting: asyncio.Task[None]) -> None:
        self._accepting = accepting

    def close(self) -> None:
        self._accepting.cancel()
