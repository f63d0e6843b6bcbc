"""The wiring of both ends; that they carry bytes is shown in tests/e2e."""

import asyncio
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from pog.cli.up import SERVER_LISTEN, up
from pog.config.client_settings import ClientSettings
from pog.config.endpoints import Endpoint
from pog.config.server_settings import ServerSettings
from pog.net.address import Address

SERVER_AT, CLIENT_AT = Address("127.0.0.1", 40123), Address("127.0.0.1", 18080)
SERVER = ServerSettings(listen=SERVER_LISTEN)
CLIENT = ClientSettings(server_addr=SERVER_LISTEN, insecure=True)
Started = Callable[[list[Any]], None]


class Ends:
    """Stands in for both ends and keeps what happened, in order; `failing` raises once it was asked to start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: str = "") -> None:
        self.events: list[str] = []
        self.failing = failing
        for name, attribute, end in (("pog.server.serve", "serve", self.serve), ("pog.client.app", "run", self.run)):
            module = ModuleType(name)
            setattr(module, attribute, end)
            monkeypatch.setitem(sys.modules, name, module)

    async def serve(self, settings: ServerSettings, *, shutdown: asyncio.Event, started: Started, warn: bool) -> None:
        assert not warn
        await self._end("server", SERVER_AT, shutdown, started)

    async def run(self, settings: ClientSettings, *, shutdown: asyncio.Event, started: Started) -> None:
        assert settings.server_addr == SERVER_AT
        await self._end("client", Endpoint(CLIENT_AT), shutdown, started)

    async def _end(self, name: str, address: Address | Endpoint, shutdown: asyncio.Event, started: Started) -> None:
        try:
            if self.failing == name:
                raise OSError(f"{name} cannot listen")
            started([address])
            if self.failing == f"{name} later":
                await asyncio.sleep(0)
                raise OSError(f"{name} broke")
            await shutdown.wait()
            self.events.append(f"{name} drained")
        except asyncio.CancelledError:
            self.events.append(f"{name} cancelled")
            raise


async def test_the_client_is_pointed_at_the_server_and_drains_first(monkeypatch: pytest.MonkeyPatch) -> None:
    ends = Ends(monkeypatch)
    told: list[object] = []

    shutdown = asyncio.Event()

    def started(server: Address, clients: list[Endpoint]) -> None:
        told.extend([server, *clients])
        shutdown.set()

    await up(SERVER, CLIENT, shutdown=shutdown, started=started)
    assert told == [SERVER_AT, Endpoint(CLIENT_AT)]
    assert ends.events == ["client drained", "server drained"]


@pytest.mark.parametrize(
    ("failing", "events"),
    [
        ("server", []),
        ("client", ["server cancelled"]),
        ("server later", ["client cancelled"]),
        ("client later", ["server cancelled"]),
    ],
)
async def test_when_one_end_fails_the_other_ends(
    monkeypatch: pytest.MonkeyPatch, failing: str, events: list[str]
) -> None:
    ends = Ends(monkeypatch, failing)

    with pytest.raises(ExceptionGroup) as caught:
        await up(SERVER, CLIENT, shutdown=asyncio.Event(), started=lambda _server, _client: None)
    assert isinstance(caught.value.exceptions[0], OSError)
    assert ends.events == events
