"""The registry of tunnels."""

from __future__ import annotations

import asyncio

from pog.config.client_settings import ClientSettings
from pog.net.address import Address
from pog.tunnel.request import Tunnel
from tests.helpers.relay import Counted, FakeRelay


class Stopping(FakeRelay):
    """Counts how often it is told to end."""

    stopped = 0

    def stop(self) -> None:
        self.stopped += 1


def test_the_tunnels_of_one_exit_end_and_no_others_even_of_an_exit_of_the_same_name() -> None:
    counted = Counted("client", ClientSettings(server_addr=Address("127.0.0.1", 1)))
    dead, successor = object(), object()
    relays = []
    for through in (dead, successor, None, dead):
        relays.append(relay := Stopping())
        counted.open(relay).tunnel = Tunnel(asyncio.Transport(), "west", through=through)
    assert counted.tunnels.end_through(dead) == 2
    assert [each.stopped for each in relays] == [1, 0, 0, 1]
    counted.open(Stopping())  # its tunnel is not known yet
    assert counted.tunnels.end_through(object()) == 0
