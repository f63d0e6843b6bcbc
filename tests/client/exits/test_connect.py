"""What a dial says when it fails, and the names that TLS asks for."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pog.client.exits.connect import Target, connect
from pog.config.client import single_exit
from pog.errors import ExitUnavailable, FailureKind
from pog.net.address import Address
from pog.net.resolve import Resolver
from tests.client.server import serving
from tests.client.support import SETTINGS

if TYPE_CHECKING:
    from pog.http2.session import Session
    from tests.helpers.tls import Authority


class NoOwner:
    """The test looks at the connection itself."""

    def stream_ended(self) -> None:
        pass

    def draining(self, session: Session) -> None:
        pass

    def lost(self, session: Session, reason: str) -> None:
        pass


async def dial(target: Target) -> Session:
    return await connect(target, NoOwner(), Resolver())


def target(server_addr: Address, **changes: object) -> Target:
    return Target.of(single_exit(replace(SETTINGS, **changes), server_addr))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("server_addr", "server_host", "authority", "server_name"),
    [
        (Address("pog.example", 443), "", "pog.example:443", "pog.example"),
        (Address("pog.example.", 443), "", "pog.example.:443", "pog.example"),
        (Address("::1", 443), "", "[::1]:443", "::1"),
        (Address("fe80::1%eth0", 443), "", "[fe80::1]:443", "fe80::1"),
        (Address("127.0.0.1", 1), "pog.example", "pog.example", "pog.example"),
        (Address("127.0.0.1", 1), "pog.example.:8443", "pog.example.:8443", "pog.example"),
        (Address("127.0.0.1", 1), "[::1]", "[::1]", "::1"),
        (Address("127.0.0.1", 1), "[fe80::1%eth0]:443", "[fe80::1]:443", "fe80::1"),
    ],
)
def test_the_names_of_a_server(server_addr: Address, server_host: str, authority: str, server_name: str) -> None:
    found = target(server_addr, server_host=server_host)
    assert (found.authority, found.server_name) == (authority, server_name)


@pytest.mark.loops("asyncio", "uvloop")
@pytest.mark.parametrize(("host", "asked"), [("localhost", "localhost"), ("localhost.", "localhost"), ("[::1]", None)])
async def test_the_name_that_tls_asks_for(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, host: str, asked: str | None
) -> None:
    """RFC 6066 section 3: no dot behind it, and no address."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
    names: list[str | None] = []
    context = authority.server_context("h2")
    context.sni_callback = lambda _object, name, _context: names.append(name)
    async with serving(tls=context) as server:
        session = await dial(target(server.address, insecure=False, server_host=host))
        session.abort("done")
        await session.closed
    assert names == [asked]


@pytest.mark.loops("asyncio", "uvloop")
async def test_an_unforeseen_exception_is_a_failed_dial_and_nothing_else(authority: Authority) -> None:
    """As a name with an empty label was, once. The runner fails for a socket left, and for what reaches the loop."""
    async with serving(tls=authority.server_context("h2")) as server:
        wrong = replace(target(server.address, insecure=False, skip_verify=True), server_name="pog..example")
        with pytest.raises(ExitUnavailable, match="^Unicode.*Error: .*label empty") as caught:
            await dial(wrong)
        assert "\n" not in str(caught.value)


@pytest.mark.loops("asyncio", "uvloop")
@pytest.mark.parametrize("tls", [True, False])
async def test_a_server_that_says_nothing_is_a_failed_dial_and_leaves_no_socket(tls: bool) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,  # the kernel accepts, nobody answers
        pytest.raises(ExitUnavailable, match=r"^no connection within 0\.1 s$"),
    ):
        await dial(target(Address(*listening.getsockname()), insecure=not tls, connect_timeout=0.1))


async def test_a_name_that_no_resolver_takes_is_a_failed_dial() -> None:
    with pytest.raises(ExitUnavailable, match=r"^pog\.\.example has no address: .*label empty"):
        await dial(target(Address("pog..example", 1)))


async def test_a_refused_connection_is_told_in_the_systems_words() -> None:
    with pytest.raises(ExitUnavailable, match="^Connection refused$"):
        await dial(target(Address("127.0.0.1", 1)))


@pytest.mark.parametrize("server", [Address("127.0.0.1", 1), Address("localhost", 1), Address("no-such.invalid", 1)])
async def test_a_lack_of_our_own_is_not_told_as_the_servers(monkeypatch: pytest.MonkeyPatch, server: Address) -> None:
    lack = OSError(errno.EMFILE, "Too many open files")

    def no_socket(*_: object) -> socket.socket:
        raise lack

    def no_answer(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    with monkeypatch.context() as patch, pytest.raises(ExitUnavailable, match="Too many open files$") as caught:
        patch.setattr(socket, "socket", no_socket)
        patch.setattr(socket, "getaddrinfo", no_answer)
        await dial(target(server))
    assert caught.value.failure.kind is FailureKind.LIMIT
    assert caught.value.failure.wording.proxy_error == "connection_limit_reached"
