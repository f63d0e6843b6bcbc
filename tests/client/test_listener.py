"""Accepting up to a limit."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest

from pog.client.endpoints import open_endpoints
from pog.client.listener import Listener
from pog.config.endpoints import Endpoint
from pog.net.address import Address, UnixPath
from tests.client.support import ANY_PORT, SECONDS, address_of

if TYPE_CHECKING:
    from pathlib import Path


class Counted(asyncio.Protocol):
    """Says its number to every client."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._owner.listener.entered()
        cast("asyncio.Transport", transport).write(b"x")

    def connection_lost(self, exc: Exception | None) -> None:
        self._owner.listener.left()


class Owner:
    def __init__(self, limit: int) -> None:
        self.listener = Listener(lambda: Counted(self), limit, SECONDS)

    async def listen(self, address: Address) -> list[Address]:
        return [address_of(each) for each in await self.listener.listen(open_endpoints([Endpoint(address)]))]


async def accepted(address: Address, host: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection(host, address.port)
    async with asyncio.timeout(SECONDS):
        assert await reader.readexactly(1) == b"x"
    return reader, writer


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["127.0.0.1", "::1"]], ids=["one socket", "two sockets"])
async def test_at_the_limit_new_connections_wait_until_others_end(
    hosts: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    system = socket.getaddrinfo
    names = {"name.test": hosts}

    def lookup(host: str, *arguments: Any, **options: Any) -> list[Any]:
        return [info for each in names.get(host, [host]) for info in system(each, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)

    owner = Owner(limit=4)
    address, *others = await owner.listen(Address("name.test", 0))
    assert [address.host, *(each.host for each in others)] == hosts
    for _ in range(2):
        users = [await accepted(address, hosts[number % len(hosts)]) for number in range(4)]
        waiting = [asyncio.create_task(accepted(address, host)) for host in hosts]
        done, _ = await asyncio.wait(waiting, timeout=0.1)
        assert not done
        for _, writer in users:
            writer.close()
        for each in waiting:
            _, writer = await each
            writer.close()
            await writer.wait_closed()
    await owner.listener.close()
    assert "4 connections, the limit" in caplog.text


async def test_without_a_host_both_families_are_taken() -> None:
    owner = Owner(limit=10)
    (address,) = await owner.listen(Address("", 0))
    assert address.port
    hosts = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
    for host in hosts:
        _, writer = await accepted(address, host)
        writer.close()
        await writer.wait_closed()
    await owner.listener.close()


async def test_a_port_that_is_taken_is_named() -> None:
    first, second = Owner(1), Owner(1)
    (address,) = await first.listen(ANY_PORT)
    with pytest.raises(OSError, match=f"127.0.0.1:{address.port}"):
        await second.listen(address)
    await second.listener.close()
    await first.listener.close()


@pytest.mark.parametrize("limit", [1, 10])
async def test_after_close_nobody_gets_in(limit: int) -> None:
    owner = Owner(limit)
    (address,) = await owner.listen(ANY_PORT)
    _, writer = await accepted(address)
    await owner.listener.close()
    with pytest.raises(OSError):
        await accepted(address)
    writer.close()
    await writer.wait_closed()


async def test_at_the_limit_the_file_of_a_unix_socket_stays(tmp_path: Path) -> None:
    path = str(tmp_path / "pog")
    owner = Owner(limit=2)
    (endpoint,) = await owner.listener.listen(open_endpoints([Endpoint(UnixPath(path))]))
    assert endpoint == Endpoint(UnixPath(path))
    users = [await asyncio.open_unix_connection(path) for _ in range(2)]
    for reader, _ in users:
        assert await reader.readexactly(1) == b"x"
    waiting_reader, waiting_writer = await asyncio.open_unix_connection(path)
    waiting = asyncio.create_task(waiting_reader.readexactly(1), name="waits")
    done, _ = await asyncio.wait({waiting}, timeout=0.1)
    assert not done
    for _, writer in users:
        writer.close()
    async with asyncio.timeout(SECONDS):
        assert await waiting == b"x"
    waiting_writer.close()
    await owner.listener.close()
    with pytest.raises(FileNotFoundError):
        await asyncio.open_unix_connection(path)


class Greeting(asyncio.Protocol):
    """A connection that is not counted."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(b"x")


@pytest.mark.parametrize("ended", [0, 1])
async def test_a_limit_that_is_reached_while_sockets_open_again_closes_none_for_ever(ended: int) -> None:
    """With one socket closed and another open, nothing would ever open the first one again."""
    listener = Listener(Greeting, 8, SECONDS)
    endpoints = await listener.listen(open_endpoints([Endpoint(ANY_PORT) for _ in range(2)]))
    loop, opened = asyncio.get_running_loop(), asyncio.Event()
    create_server = loop.create_server
    count = 0

    async def create(*arguments: Any, **options: Any) -> asyncio.Server:
        nonlocal count
        server = await create_server(*arguments, **options)
        count += 1
        if count == 2:  # the first one accepts already
            listener.entered()
            for _ in range(ended):
                listener.left()
            opened.set()
        return server

    loop.create_server = create  # type: ignore[method-assign]
    try:
        for _ in range(8):
            listener.entered()
        listener.left()
        async with asyncio.timeout(SECONDS):
            await opened.wait()
    finally:
        loop.create_server = create_server  # type: ignore[method-assign]
    if not ended:
        listener.left()
    for endpoint in endpoints:
        _, writer = await accepted(address_of(endpoint))
        writer.close()
    await listener.close()
