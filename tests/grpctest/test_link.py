"""A link between two transports that a test plays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pog.grpctest import Faults
from pog.grpctest.leftovers import Live
from pog.grpctest.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable


class Narrow(asyncio.Transport):
    """Takes one write, then is full."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        super().__init__()
        self._protocol = protocol
        self.reading = True
        self.taken = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.taken += data
        self._protocol.pause_writing()

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return False


async def test_what_a_client_says_early_may_fill_the_server() -> None:
    """Before the server is there the client is not read; uvloop delivers a piece all the same."""
    dialled = asyncio.Event()

    async def connect(protocol: Callable[[], asyncio.Protocol]) -> None:
        dialled.set()

    link = Link(Faults(), connect, Live())
    client, server = Narrow(link.client), Narrow(link.server)
    link.client.connection_made(client)
    assert not client.reading
    link.client.data_received(b"early")
    await dialled.wait()
    link.server.connection_made(server)
    assert server.taken == b"early"
    assert not client.reading
    link.server.resume_writing()
    assert client.reading
