"""Plain HTTP to destinations that have spoken, ended or broken before the request could be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pog.tunnel.request import Tunnel
from tests.client.support import MemoryTunnel, front
from tests.client.test_exchanges import OK, get, origin_form

if TYPE_CHECKING:
    import asyncio


class HastyTunnel(MemoryTunnel):
    """What happened to it already it tells the relay within set_protocol, as exits' transports do."""

    def __init__(self, *said: bytes, ended: bool = False, lost: Exception | None = None) -> None:
        super().__init__()
        self.said, self.ended, self.lost = said, ended, lost

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        super().set_protocol(protocol)
        for data in self.said:
            self.down.data_received(data)
        if self.ended:
            self.down.eof_received()
        if self.lost is not None:
            self.down.connection_lost(self.lost)


@pytest.mark.parametrize("said", [(OK + b"ok",), (OK, b"o", b"k")], ids=["whole", "in pieces"])
@pytest.mark.parametrize("ended", [False, True])
async def test_an_answer_that_was_there_before_the_request(said: tuple[bytes, ...], ended: bool) -> None:
    async with front() as here:
        user = await here.user()
        user.send(get("1"))
        tunnel: MemoryTunnel = HastyTunnel(*said, ended=ended)
        (await here.exit.asked()).answer(Tunnel(tunnel, "west"))
        assert await user.plain() == (200, {"content-length": "2"}, b"ok")
        assert tunnel.written == origin_form("1")
        tunnel.written.clear()
        user.send(get("2"))
        if ended:
            tunnel = (await here.exit.asked()).open()
        await tunnel.until(written=1)
        assert tunnel.written == origin_form("2")
        tunnel.down.data_received(OK + b"ok")
        assert (await user.plain())[2] == b"ok"
        user.leave()
        await here.gone()


@pytest.mark.parametrize(
    "tunnel",
    [HastyTunnel(ended=True), HastyTunnel(b"HTTP/1.1 20", ended=True), HastyTunnel(lost=ConnectionResetError("reset"))],
    ids=["ended", "ended in the middle", "broken"],
)
async def test_a_destination_that_was_gone_before_the_request(tunnel: HastyTunnel) -> None:
    async with front() as here:
        user = await here.user()
        user.send(get())
        (await here.exit.asked()).answer(Tunnel(tunnel, "west"))
        assert (await user.plain())[0] == 502
        user.leave()
        await here.gone()
        assert here.metric("tunnelling_connections_total") == 0
