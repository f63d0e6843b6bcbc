"""Fast open through both programs: nothing lost, and how a failure looks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.helpers import pog
from tests.helpers.origin import blocks, dialogue, digest, unused_port
from tests.helpers.user import connect

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from tests.helpers.origin import Origins


@pytest.fixture(scope="module")
def client(shared_server: pog.End) -> Iterator[pog.End]:
    end = pog.client(shared_server.host_port, {"FAST_OPEN": "1"})
    with end.program:
        yield end


@pytest.mark.parametrize("size", [1, 60_000, 5_000_000])
def test_every_byte_arrives_once_and_in_order(client: pog.End, origins: Origins, size: int) -> None:
    with connect(client.address, origins.start(dialogue).host_port) as tunnel:
        for block in blocks(size):
            tunnel.send(block)
        tunnel.half_close()
        assert tunnel.receive_all().decode() == f"{size} {digest(size)}"


def test_a_destination_that_speaks_first(client: pog.End, origins: Origins) -> None:
    async def banner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")

    with connect(client.address, origins.start(banner).host_port) as tunnel:
        assert tunnel.receive_all() == b"220 hello\r\n"


def test_a_failed_dial_is_a_reset_and_the_log_says_why(client: pog.End) -> None:
    target = f"127.0.0.1:{unused_port()}"
    with connect(client.address, target, early=b"hello") as tunnel:
        assert tunnel.status == 200
        with pytest.raises(ConnectionResetError):
            tunnel.receive(1)
    client.program.wait_line(f"^pog: {target} anonymous HTTPS .* 502$")
