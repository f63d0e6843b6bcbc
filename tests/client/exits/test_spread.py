"""Replicas behind one name: real servers on addresses of loopback, and a resolver whose answer changes."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from pog.client.exits.spread import SpreadExit
from pog.config.exits import ServerExit
from pog.errors import Refused
from pog.net.address import Address
from pog.net.resolve import Answers, Resolver
from tests.client.support import SECONDS, SETTINGS, open_tunnel
from tests.helpers import pog
from tests.helpers.origin import echo
from tests.helpers.process import Program
from tests.helpers.relay import Counted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from pog.net.resolve import AddrInfo
    from tests.helpers.origin import Origin, Origins

REPLICAS = ("127.0.0.2", "127.0.0.3", "127.0.0.4")


@pytest.fixture
def origin(origins: Origins) -> Origin:
    return origins.start(echo)


@pytest.fixture
def port() -> int:
    """Free on every address of loopback at this moment."""
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        return int(sock.getsockname()[1])


@pytest.fixture
def replicas(port: int) -> Iterator[dict[str, pog.End]]:
    with ExitStack() as stack:
        ends = {}
        for host in REPLICAS:
            env = {"SERVER_LISTEN": f"{host}:{port}", "DRAIN_TIMEOUT": "5", "EGRESS_ALLOW": pog.LOOPBACK}
            program = stack.enter_context(Program([*pog.POG, "server"], env))
            ends[host] = pog.End(program, (host, port), is_server=True)
        for end in ends.values():
            end.program.wait_line("pog server on")
        yield ends


class Names:
    """What the name resolves to now."""

    def __init__(self, *hosts: str) -> None:
        self.hosts = list(hosts)

    def __call__(self, host: str) -> list[AddrInfo]:
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, 0)) for each in self.hosts]


@asynccontextmanager
async def spread(names: Names, port: int) -> AsyncIterator[SpreadExit]:
    settings = ServerExit(name="all", server=Address("pog.test", port), insecure=True, wait=SECONDS)
    resolver = Resolver(names, answers=Answers(seconds=0))
    exit = SpreadExit(settings, Counted("client", SETTINGS).metrics, resolver, interval=0.02)
    exit.start()
    try:
        yield exit
    finally:
        await exit.close()


class Echo(asyncio.Protocol):
    """Sends a word and waits for it."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.came: asyncio.Queue[bytes] = asyncio.Queue()
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport = transport
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        self.came.put_nowait(bytes(data))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    async def works(self) -> bool:
        self.transport.write(b"ping")
        async with asyncio.timeout(SECONDS):
            return await self.came.get() == b"ping"


async def until(condition: object) -> None:
    assert callable(condition)
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110  # what is waited for offers no event
            await asyncio.sleep(0.005)


async def opened(exit: SpreadExit, origin: Origin, count: int) -> list[Echo]:
    found = []
    for _ in range(count):
        found.append(Echo(await open_tunnel(exit, f"127.0.0.1:{origin.port}")))
        assert await found[-1].works()
    return found


async def all_connected(exit: SpreadExit, count: int) -> None:
    await until(lambda: len(exit._replicas) == count and not any(each.problem for each in exit._replicas.values()))


async def test_tunnels_go_round_the_replicas(replicas: dict[str, pog.End], port: int, origin: Origin) -> None:
    async with spread(Names(*REPLICAS), port) as exit:
        await all_connected(exit, 3)
        tunnels = await opened(exit, origin, 9)
        assert [end.tunnels() for end in replicas.values()] == [3, 3, 3]
        for each in tunnels:
            each.transport.abort()


async def test_one_that_leaves_the_name_gets_no_more_and_keeps_what_it_has_and_a_new_one_gets_its_share(
    replicas: dict[str, pog.End], port: int, origin: Origin
) -> None:
    first, second, third = REPLICAS
    names = Names(first, second)
    async with spread(names, port) as exit:
        await all_connected(exit, 2)
        before = await opened(exit, origin, 4)
        names.hosts = [second, third]
        await until(lambda: {each.host for each in exit._replicas} == {second, third})
        await all_connected(exit, 2)
        after = await opened(exit, origin, 4)
        assert [end.tunnels() for end in replicas.values()] == [2, 4, 2]
        assert all([await each.works() for each in before]), "open tunnels go on"
        for each in before + after:
            each.transport.abort()


async def test_one_is_drained_and_another_killed_and_the_next_tunnels_open(
    replicas: dict[str, pog.End], port: int, origin: Origin
) -> None:
    drained, killed, good = replicas.values()
    async with spread(Names(*REPLICAS), port) as exit:
        await all_connected(exit, 3)
        before = await opened(exit, origin, 6)
        drained.program.send_signal(signal.SIGTERM)
        killed.program.kill()
        lost = [each for each in before if each.lost.done()]
        during = await opened(exit, origin, 10)
        assert len(during) == 10
        await until(lambda: sum(each.lost.done() for each in before) >= 2)
        alive = [each for each in before if not each.lost.done()]
        assert len(alive) == 4 and not lost, "only those of the killed one are lost"
        assert all([await each.works() for each in alive])
        assert good.tunnels() == 2 + 10
        for each in before + during:
            each.transport.abort()


async def test_a_name_without_an_address_is_the_reason(port: int) -> None:
    async with spread(Names(), port) as exit:
        await until(lambda: "no such name" in exit.problem)
        assert exit.down
        with pytest.raises(Refused, match="no such name"):
            await open_tunnel(exit, "127.0.0.1:1")
