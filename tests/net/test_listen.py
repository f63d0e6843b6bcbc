"""Where a setting makes a program listen: both families for a wildcard, every address for a name, one port for all."""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pog.config.parsers import parse_listen
from pog.net.address import Address
from pog.net.listen import beside, listening_sockets, reserved
from tests.helpers.watch import descriptors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Names = Callable[..., None]

# Not of any machine: a documentation prefix, RFC 3849.
ELSEWHERE = "2001:db8::1"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    """Makes name.test have these addresses."""
    system = socket.getaddrinfo
    found: list[str] = []

    def lookup(host: str, *arguments: Any, **options: Any) -> list[Any]:
        hosts = found if host == "name.test" else [host]
        return [info for each in hosts for info in system(each, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    yield lambda *addresses: found.extend(addresses)


def listen(text: str) -> list[tuple[str, int]]:
    """Where the sockets listen; they are closed."""
    sockets = listening_sockets(parse_listen(text))
    places = [sock.getsockname()[:2] for sock in sockets]
    assert not any(sock.getblocking() for sock in sockets)
    close(sockets)
    return places


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def takes(port: int, host: str) -> bool:
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("text", [":0", "0.0.0.0:0", "[::]:0", "[0:0::0]:0"])
@pytest.mark.parametrize("dualstack", [True, False])
def test_a_wildcard_takes_both_families(text: str, dualstack: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one socket cannot take both, as on OpenBSD."""
    if not dualstack:
        monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    sockets = listening_sockets(parse_listen(text))
    (port,) = {sock.getsockname()[1] for sock in sockets}
    assert len(sockets) == (1 if dualstack else 2)
    assert takes(port, "127.0.0.1")
    assert takes(port, "::1")
    close(sockets)


@pytest.mark.parametrize(("text", "other"), [("127.0.0.1:0", "::1"), ("[::1]:0", "127.0.0.1")])
def test_an_address_takes_only_itself(text: str, other: str) -> None:
    (sock,) = listening_sockets(parse_listen(text))
    assert not takes(sock.getsockname()[1], other)
    close([sock])


def test_a_name_takes_all_its_addresses_on_one_port(names: Names) -> None:
    names("127.0.0.1", "::1", "127.0.0.2", "127.0.0.1")
    places = listen("name.test:0")
    assert [host for host, _ in places] == ["127.0.0.1", "::1", "127.0.0.2"]
    assert len({port for _, port in places}) == 1


def test_addresses_that_this_machine_does_not_have_are_left_out(names: Names, caplog: pytest.LogCaptureFixture) -> None:
    names(ELSEWHERE, "127.0.0.1")
    ((host, _),) = listen("name.test:0")
    assert host == "127.0.0.1"
    assert "listening on name.test:0 only at 127.0.0.1" in caplog.text


def test_a_name_none_of_whose_addresses_this_machine_has(names: Names) -> None:
    names(ELSEWHERE)
    with pytest.raises(OSError, match=r"cannot listen on name\.test:1234: Cannot assign requested address"):
        listen("name.test:1234")


def test_a_name_without_addresses_of_the_internet() -> None:
    with pytest.raises(OSError, match=r"cannot listen on no-such\.invalid:1: \w+"):
        listen("no-such.invalid:1")


@pytest.mark.parametrize("hosts", [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_a_port_that_is_taken_at_one_of_the_addresses(names: Names, hosts: tuple[str, str]) -> None:
    names(*hosts)
    (taken,) = listening_sockets(parse_listen("127.0.0.1:0"))
    before = descriptors_here()
    with pytest.raises(OSError, match="cannot listen on name.test:") as caught:
        listen(f"name.test:{taken.getsockname()[1]}")
    assert caught.value.errno == errno.EADDRINUSE
    assert descriptors_here() == before
    close([taken])


def descriptors_here() -> int:
    return len(descriptors(os.getpid()))


@pytest.mark.parametrize("times", [1, 100])
def test_the_kernels_choice_is_changed_when_it_is_taken_at_another_address(
    names: Names, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    names("127.0.0.1", "::1")
    create, failures = socket.create_server, 0

    def create_server(address: Any, *, family: int, **options: Any) -> socket.socket:
        nonlocal failures
        if family == socket.AF_INET6 and failures < times:
            failures += 1
            raise OSError(errno.EADDRINUSE, "Address already in use")
        return create(address, family=family, **options)

    monkeypatch.setattr(socket, "create_server", create_server)
    before = descriptors_here()
    if times == 1:
        assert len({port for _, port in listen("name.test:0")}) == 1
    else:
        with pytest.raises(OSError, match="already in use"):
            listen("name.test:0")
    assert descriptors_here() == before


@pytest.mark.parametrize("text", ["127.0.0.1:0", ":0", "name.test:0"])
def test_several_processes_share_what_is_reserved(text: str, names: Names) -> None:
    names("127.0.0.1", "::1")
    with reserved(parse_listen(text)) as held:
        port = held[0].getsockname()[1]
        first, second = ([beside(each) for each in held] for _ in range(2))
        assert takes(port, "127.0.0.1")
        assert takes(port, "::1") == (text != "127.0.0.1:0")
        close(first)
        assert takes(port, "127.0.0.1")
        for each in held:
            with pytest.raises(OSError, match="already in use"):
                listening_sockets(Address(each.getsockname()[0], port))
        close(second)
