"""The way to a server: a name is resolved, its addresses are raced, and a proxy in between is passed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pog.errors import ExitUnavailable, FailureKind, LimitReached
from pog.net.connect import connect_socket, strerror
from pog.net.resolve import is_exhausted

if TYPE_CHECKING:
    import socket

    from pog.client.exits.via import Handshake
    from pog.config.exits import Via
    from pog.net.resolve import Resolver


async def dial(host: str, port: int, via: Via | None, resolver: Resolver) -> socket.socket:
    """A connected socket, non-blocking. Raises ExitUnavailable, whose text says which hop failed."""
    if via is None:
        return await _dial(host, port, resolver, "")
    # h11 is imported only where it is needed: `pog health` starts every few seconds in a container.
    from pog.client.exits.via import handshake

    sock = await _dial(via.address.host, via.address.port, resolver, f"the proxy {via}: ")
    try:
        await _pass(sock, via, handshake(via, host, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _dial(host: str, port: int, resolver: Resolver, whose: str) -> socket.socket:
    try:
        found = await resolver.resolve(host, port)
    except LimitReached as error:
        raise ExitUnavailable(f"{whose}{host} cannot be looked up: {error}", FailureKind.LIMIT) from None
    except (OSError, UnicodeError) as error:
        raise ExitUnavailable(f"{whose}{host} has no address: {strerror(error)}") from None
    try:
        return await connect_socket(found)
    except OSError as error:
        kind = FailureKind.LIMIT if is_exhausted(error) else FailureKind.EXIT_UNAVAILABLE
        raise ExitUnavailable(f"{whose}{strerror(error)}", kind) from None


async def _pass(sock: socket.socket, via: Via, handshake: Handshake) -> None:
    """Carries a handshake with the proxy out."""
    loop = asyncio.get_running_loop()
    try:
        data, wanted = next(handshake)
        while True:
            await loop.sock_sendall(sock, data)
            got = b""
            while len(got) < wanted and (part := await loop.sock_recv(sock, wanted - len(got))):
                got += part
            try:
                data, wanted = handshake.send(got)
            except StopIteration:
                return
    except OSError as error:
        raise ExitUnavailable(f"the proxy {via}: {strerror(error)}") from None
