"""Dialling: what is reached, what is refused, and how each failure is named. Names are answered by a stand-in."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pog.errors import DialError, FailureKind
from pog.net.address import parse_destination
from pog.net.dial import Dialler
from pog.net.egress import EgressPolicy
from pog.net.resolve import Resolver

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pog.net.dial import Dialled, Policy

LOOPBACK = EgressPolicy((ipaddress.ip_network("127.0.0.0/8"),))
LOOPS = pytest.mark.loops("uvloop", "asyncio")


def dialler(names: dict[str, Any] | None = None, *, policy: Policy = LOOPBACK, limit: float = 5.0) -> Dialler:
    """With `names` as all that the resolver knows; without, the system's resolver."""
    known = names or {}

    def lookup(host: str) -> list[Any]:
        answers = known.get(host, [])
        if isinstance(answers, Exception):
            raise answers
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in answers]

    return Dialler(policy, limit, Resolver() if names is None else Resolver(lookup))


async def dial(host_port: str, names: dict[str, Any] | None = None, **options: Any) -> Dialled:
    return await dialler(names, **options).dial(parse_destination(host_port))


async def peer_of(dialled: Dialled) -> Any:
    """Where the connection leads; it is closed."""
    sock = dialled.transport.get_extra_info("socket")
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    dialled.transport.abort()
    return dialled.transport.get_extra_info("peername")


async def failure(host_port: str, names: dict[str, Any] | None = None, **options: Any) -> DialError:
    with pytest.raises(DialError) as caught:
        await dial(host_port, names, **options)
    assert caught.value.failure.text.startswith(host_port)
    return caught.value


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@LOOPS
async def test_reaches_an_address(listener: socket.socket) -> None:
    assert await peer_of(await dial(f"127.0.0.1:{listener.getsockname()[1]}")) == listener.getsockname()


@LOOPS
async def test_a_dead_address_does_not_hide_a_live_one(listener: socket.socket) -> None:
    found = await dial(f"two.test:{listener.getsockname()[1]}", {"two.test": ["127.0.0.9", "127.0.0.1"]})
    assert await peer_of(found) == listener.getsockname()


async def test_a_name_with_a_forbidden_address_keeps_its_others(listener: socket.socket) -> None:
    names = {"mixed.test": ["169.254.169.254", "127.0.0.1"]}
    found = await dial(f"mixed.test:{listener.getsockname()[1]}", names)
    assert await peer_of(found) == listener.getsockname()


@LOOPS
@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["127.0.0.9", "127.0.0.1"]], ids=["one address", "two addresses"])
@pytest.mark.parametrize("early", [True, False])
async def test_a_destination_that_speaks_first_and_is_done(
    hosts: list[str], early: bool, listener: socket.socket
) -> None:
    """Nothing of it is lost, whether it came before a relay took the connection over or after."""
    dialled = await dial(f"name.test:{listener.getsockname()[1]}", {"name.test": hosts})
    accepted = listener.accept()[0]
    accepted.sendall(b"220 ")
    while early and not dialled.early:  # noqa: ASYNC110  # it has no event for that
        await asyncio.sleep(0)
    accepted.sendall(b"ready\r\n")
    accepted.shutdown(socket.SHUT_WR)
    reader = Reader(dialled)
    dialled.transport.set_protocol(reader)
    dialled.transport.resume_reading()
    assert await reader.all == b"220 ready\r\n"
    dialled.transport.abort()
    accepted.close()


class Reader(asyncio.Protocol):
    """Takes a connection over as a relay does."""

    def __init__(self, dialled: Dialled) -> None:
        self._data = dialled.early
        self.all: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        if dialled.ended:
            self.eof_received()

    def data_received(self, data: bytes) -> None:
        self._data += data

    def eof_received(self) -> bool:
        if not self.all.done():
            self.all.set_result(self._data)
        return True


async def test_denied_names_the_rule_and_the_way_out(listener: socket.socket) -> None:
    target = f"localhost:{listener.getsockname()[1]}"
    error = await failure(target, {"localhost": ["127.0.0.1"]}, policy=EgressPolicy())
    assert error.failure.kind is FailureKind.DENIED
    remedy = "EGRESS_ALLOW=127.0.0.1 on the server would permit it"
    assert str(error) == f"{target} is not allowed: 127.0.0.1 is a loopback address ({remedy})"


async def test_the_answer_is_judged_and_not_the_name() -> None:
    """DNS rebinding: a public name with an address of the server's own host."""
    error = await failure("public.example:80", {"public.example": ["169.254.169.254"]}, policy=EgressPolicy())
    assert error.failure.kind is FailureKind.DENIED


@pytest.mark.parametrize("answer", [[], socket.gaierror(socket.EAI_NONAME, "Name or service not known")])
async def test_no_such_name(answer: Any) -> None:
    assert (await failure("no.test:80", {"no.test": answer})).failure.kind is FailureKind.DNS


async def test_a_label_that_cannot_be_encoded() -> None:
    assert (await failure(f"{'a' * 64}.test:80")).failure.kind is FailureKind.DNS


@LOOPS
@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["127.0.0.1", "127.0.0.9"]], ids=["one address", "two addresses"])
async def test_refused(hosts: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    error = await failure(f"name.test:{port}", {"name.test": hosts})
    assert error.failure.kind is FailureKind.REFUSED
    assert error.failure.http_status == 502
    assert str(error) == f"name.test:{port} refused the connection: Connection refused"


async def test_nobody_answers() -> None:
    """A listener whose queue is full answers no SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        with socket.create_connection(full.getsockname()):
            error = await failure(f"127.0.0.1:{full.getsockname()[1]}", limit=0.2)
    assert error.failure.kind is FailureKind.TIMEOUT


@pytest.mark.parametrize("end", ["server", "client"])
async def test_a_lack_of_our_own_names_the_program_that_dials(end: str) -> None:
    def lookup(_: str) -> list[Any]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with pytest.raises(DialError) as caught:
        await Dialler(LOOPBACK, 5.0, Resolver(lookup), end).dial(parse_destination("a.test:80"))
    assert caught.value.failure.kind is FailureKind.LIMIT
    assert caught.value.failure.http_status == 503
    assert str(caught.value) == f"a.test:80 was not tried: the {end} lacks resources: Too many open files"
