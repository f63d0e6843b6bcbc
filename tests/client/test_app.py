"""The whole client in one loop, from start to shutdown."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pog.client.app import run as run_client
from pog.config.client import with_server
from pog.config.endpoints import Endpoint
from pog.proto.grpcproxy_pb2 import Packet
from tests.client.server import serving
from tests.client.support import SECONDS, SETTINGS, User, address_of, connect_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pog.config.client_settings import ClientSettings
    from pog.net.address import Address


@asynccontextmanager
async def client(settings: ClientSettings) -> AsyncIterator[tuple[Address, asyncio.Event, asyncio.Task[None]]]:
    """A running client; it is told to end when the test has not done so."""
    shutdown = asyncio.Event()
    listening: asyncio.Future[list[Endpoint]] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(run_client(settings, shutdown=shutdown, started=listening.set_result))
    try:
        async with asyncio.timeout(SECONDS):
            (endpoint,) = await listening
        yield address_of(endpoint), shutdown, task
    finally:
        shutdown.set()
        await task


async def user_of(address: Address) -> User:
    return User(*await asyncio.open_connection(address.host, address.port))


def settings_for(address: Address, **changes: Any) -> ClientSettings:
    return with_server(replace(SETTINGS, access_log=False, **changes), address)


async def test_from_start_to_shutdown_with_a_tunnel_that_ends_in_time() -> None:
    async with serving() as server, client(settings_for(server.address)) as (address, shutdown, task):
        user = await user_of(address)
        user.send(connect_head("origin:80") + b"early")
        call = await server.call()
        assert await call.accept() == "origin:80"
        assert (await call.receive()).payload == b"early"
        assert await user.head() == b"HTTP/1.1 200 Connection established"
        shutdown.set()
        with pytest.raises(OSError):
            while True:  # The listener closes in one of the next turns of the loop.
                (await user_of(address)).leave()
        assert not task.done()
        await call.send(Packet(payload=b"late"))
        assert await user.receive(4) == b"late"
        user.reset()
        async with asyncio.timeout(SECONDS):
            await task


async def test_at_the_end_of_the_drain_tunnels_are_cut(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as server:
        async with client(settings_for(server.address, drain_timeout=0.05)) as (address, shutdown, task):
            user = await user_of(address)
            user.send(connect_head("origin:80"))
            call = await server.call()
            await call.accept()
            await user.head()
            shutdown.set()
            async with asyncio.timeout(SECONDS):
                await task
                await call.stream.wait_lost()
            with pytest.raises(ConnectionResetError):
                await user.rest()
            user.leave()
    assert "1 connections were cut after 0.05 s" in caplog.text


async def test_a_client_whose_server_is_down_still_starts_and_ends() -> None:
    async with serving() as server:
        gone = server.address
    async with client(settings_for(gone, exit_wait=0.1)) as (address, _, _task):
        user = await user_of(address)
        user.send(connect_head("origin:80"))
        status, fields, _ = await user.answer()
        assert status == 503
        assert "refused" in fields["x-proxy-over-grpc-error"].lower()


async def test_a_cancelled_client_leaves_nothing() -> None:
    async with serving() as server:
        shutdown, started = asyncio.Event(), asyncio.Event()
        settings = settings_for(server.address)
        task = asyncio.create_task(run_client(settings, shutdown=shutdown, started=lambda _: started.set()))
        await started.wait()
        await server.connected(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_port_that_is_taken_ends_the_start() -> None:
    async with serving() as server:
        settings = settings_for(server.address, listen=(Endpoint(server.address),))
        with pytest.raises(OSError, match="cannot listen on"):
            await run_client(settings, shutdown=asyncio.Event(), started=lambda _: None)


async def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    from pog.config.exits import Login

    with caplog.at_level(logging.DEBUG, "pog"):
        async with serving() as server, client(settings_for(server.address, pog_auth=Login("me", "s3cret"))):
            await server.connected(1)
    assert "using client-server auth me:***" in caplog.text
    assert "s3cret" not in caplog.text
