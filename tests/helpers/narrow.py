"""A hop of TCP that is slow, as an uplink at home is, and a destination that speaks first and never stops."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.helpers.user import Address

# What the hop itself holds: little, so that the programs beside it feel the rate at once.
_BUFFER = 32 * 1024
_PIECE = 16 * 1024


@contextmanager
def _accepting(serve: Callable[[socket.socket], None], *, at_once: int, buffer: int | None = None) -> Iterator[Address]:
    """Threads that wait in accept: a connection is served in the moment it is there."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener, ExitStack() as opened:
        if buffer is not None:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    opened.enter_context(sock)
                    with suppress(OSError):
                        serve(sock)

        threads = [threading.Thread(target=accept, name="accept", daemon=True) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        yield listener.getsockname()
        listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept


@contextmanager
def flood(at_once: int) -> Iterator[str]:
    """host:port of a destination that sends without end to this number of connections at once."""

    def pour(sock: socket.socket) -> None:
        while True:
            sock.sendall(bytes(1 << 18))

    with _accepting(pour, at_once=at_once) as (host, port):
        yield f"{host}:{port}"


@contextmanager
def narrow(target: Address, *, up: float | None = None, down: float | None = None) -> Iterator[str]:
    """host:port of a hop to `target`; the rates are in bytes per second, None is as fast as it goes."""

    def pump(source: socket.socket, sink: socket.socket, rate: float | None) -> None:
        with suppress(OSError):
            while data := source.recv(_PIECE):
                sink.sendall(data)
                if rate is not None:
                    time.sleep(len(data) / rate)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def serve(near: socket.socket) -> None:
        with socket.socket() as far:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            far.connect(target)
            ahead = threading.Thread(target=pump, args=(near, far, up), name="up", daemon=True)
            ahead.start()
            pump(far, near, down)
            ahead.join()

    with _accepting(serve, at_once=4, buffer=_BUFFER) as (host, port):
        yield f"{host}:{port}"
