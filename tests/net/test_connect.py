"""Connecting to one of several addresses: the first that answers, and otherwise the error that says most."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from pog.net.connect import connect_socket, strerror
from pog.net.resolve import literal
from tests.helpers.watch import descriptors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pog.net.resolve import AddrInfo

LOOPS = pytest.mark.loops("uvloop", "asyncio")
# To a group of hosts no way leads for TCP.
UNROUTED = "224.0.0.1"


@pytest.fixture
def listener() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()


@pytest.fixture
def closed() -> int:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


def at(port: int, *hosts: str) -> list[AddrInfo]:
    return [literal(host, port)[0] for host in hosts]


@LOOPS
@pytest.mark.parametrize("dead", [[], ["127.0.0.2"], ["::1"], [UNROUTED], ["127.0.0.2", "::1", UNROUTED]])
async def test_the_one_that_answers(listener: tuple[str, int], dead: list[str]) -> None:
    sock = await connect_socket(at(listener[1], *dead, "127.0.0.1"))
    with sock:
        assert sock.getpeername() == listener
        assert not sock.getblocking()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@LOOPS
@pytest.mark.parametrize(
    "hosts", [["127.0.0.1"], ["127.0.0.1", "::1"], [UNROUTED, "127.0.0.1"], ["127.0.0.1", UNROUTED]]
)
async def test_a_refusal_says_more_than_a_way_that_is_missing(closed: int, hosts: list[str]) -> None:
    with pytest.raises(OSError) as caught:
        await connect_socket(at(closed, *hosts))
    assert caught.value.errno == errno.ECONNREFUSED
    assert strerror(caught.value) == "Connection refused"


@LOOPS
async def test_a_lack_of_our_own_says_most(closed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    class Few(socket.socket):
        def __init__(self, family: int = -1, *arguments: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            super().__init__(family, *arguments)

    with monkeypatch.context() as patch, pytest.raises(OSError) as caught:
        patch.setattr(socket, "socket", Few)
        await connect_socket(at(closed, "127.0.0.1", "::1"))
    assert caught.value.errno == errno.EMFILE


@LOOPS
async def test_given_up(listener: tuple[str, int]) -> None:
    """Nothing stays open of what is cancelled on its way: the runner looks for sockets, here also for descriptors."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        before = descriptors(os.getpid())
        task = asyncio.create_task(connect_socket(at(full.getsockname()[1], "127.0.0.1", "127.0.0.1")))
        done, _ = await asyncio.wait({task}, timeout=0.3)  # the second attempt begins after 250 ms
        assert not done
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert descriptors(os.getpid()) == before


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed ('::1', 1)"), "Connection refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (ssl.SSLError(1, "[SSL] record layer failure"), "[SSL] record layer failure"),
        (OSError("the text alone"), "the text alone"),
        (UnicodeError("label too long"), "label too long"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_words_for_a_failure(error: Exception, words: str) -> None:
    assert strerror(error) == words
