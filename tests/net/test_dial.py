"""Dialling: what is reached, what is refused, and how each failure is named. Names are answered by a stand-in."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import pytest

from pog.errors import DialError, FailureKind
from pog.net.address import parse_destination
from pog.net.dial import Dialler
from pog.net.egress import EgressPolicy
from pog.net.resolve import Resolver

LOOPBACK = EgressPolicy((ipaddress.ip_network("127.0.0.0/8"),))


def dial(
    host_port: str, *, policy: EgressPolicy = LOOPBACK, timeout: float = 5, names: dict[str, Any] | None = None
) -> Any:
    """Dials, with `names` as all that the resolver knows; returns where the socket leads."""

    def lookup(host: str) -> list[Any]:
        answers = (names or {}).get(host, [])
        if isinstance(answers, Exception):
            raise answers
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 0)) for ip in answers]

    async def scenario() -> Any:
        resolver = Resolver() if names is None else Resolver(lookup)
        transport = (await Dialler(policy, timeout, resolver).dial(parse_destination(host_port))).transport
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        transport.abort()
        await asyncio.sleep(0)
        return transport.get_extra_info("peername")

    return asyncio.run(scenario())


def failure(host_port: str, **options: Any) -> DialError:
    with pytest.raises(DialError) as caught:
        dial(host_port, **options)
    assert caught.value.failure.text.startswith(host_port)
    return caught.value


@pytest.fixture
def listener() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def test_reaches_an_address(listener: socket.socket) -> None:
    assert dial(f"127.0.0.1:{listener.getsockname()[1]}") == listener.getsockname()


def test_a_dead_address_does_not_hide_a_live_one(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert dial(f"two.test:{port}", names={"two.test": ["127.0.0.9", "127.0.0.1"]}) == listener.getsockname()


def test_a_name_with_a_forbidden_address_keeps_its_others(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert dial(f"mixed.test:{port}", names={"mixed.test": ["169.254.169.254", "127.0.0.1"]}) == listener.getsockname()


def test_denied_names_the_rule_and_the_way_out(listener: socket.socket) -> None:
    error = failure(f"localhost:{listener.getsockname()[1]}", policy=EgressPolicy(), names={"localhost": ["127.0.0.1"]})
    assert error.failure.kind is FailureKind.DENIED
    assert "loopback" in str(error) and "EGRESS_ALLOW" in str(error)


def test_the_answer_is_judged_and_not_the_name() -> None:
    """DNS rebinding: a public name with an address of the server's own host."""
    names = {"public.example": ["169.254.169.254"]}
    assert failure("public.example:80", policy=EgressPolicy(), names=names).failure.kind is FailureKind.DENIED


@pytest.mark.parametrize("answer", [[], socket.gaierror(socket.EAI_NONAME, "Name or service not known")])
def test_no_such_name(answer: Any) -> None:
    assert failure("no.test:80", names={"no.test": answer}).failure.kind is FailureKind.DNS


def test_a_label_that_cannot_be_encoded() -> None:
    assert failure(f"{'a' * 64}.test:80").failure.kind is FailureKind.DNS


def test_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    error = failure(f"127.0.0.1:{port}")
    assert error.failure.kind is FailureKind.REFUSED
    assert error.failure.http_status == 502


def test_nobody_answers() -> None:
    """A listener whose queue is full answers no SYN."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        filler = socket.create_connection(full.getsockname())
        try:
            assert failure(f"127.0.0.1:{full.getsockname()[1]}", timeout=0.2).failure.kind is FailureKind.TIMEOUT
        finally:
            filler.close()
