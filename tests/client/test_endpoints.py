"""What a client listens on, from its settings and from the process that started it."""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pog.client.endpoints import certificate_for, open_endpoints
from pog.config.endpoints import Endpoint, parse_endpoints
from pog.errors import SettingsError
from pog.net.address import Address
from pog.net.inherited import Inherited
from pog.net.listen import listening_sockets
from tests.client.support import SETTINGS

if TYPE_CHECKING:
    from pathlib import Path

    from pog.client.endpoints import OpenEndpoint
    from tests.helpers.tls import Authority


def opened(stack: ExitStack, text: str, *inherited: Inherited) -> list[OpenEndpoint]:
    found = open_endpoints(parse_endpoints(text), inherited)
    for each in found:
        stack.callback(each.close)
    return found


def test_every_kind_at_once(tmp_path: Path) -> None:
    path = tmp_path / "pog"
    with ExitStack() as stack:
        plain, tls, unix = opened(stack, f"127.0.0.1:0,https://127.0.0.1:0,unix:{path}")
        for each in (plain, tls):
            assert isinstance(each.endpoint.at, Address)
            assert each.endpoint.at.port == each.socket.getsockname()[1] > 0
            assert not each.socket.getblocking()
        assert (plain.endpoint.tls, tls.endpoint.tls) == (False, True)
        assert str(unix.endpoint) == f"unix:{path}"
        assert path.is_socket()
    assert not path.exists()


def test_all_or_none(tmp_path: Path) -> None:
    path = tmp_path / "pog"
    with socket.create_server(("127.0.0.1", 0)) as taken, ExitStack() as stack:
        at = "{}:{}".format(*taken.getsockname())
        with pytest.raises(OSError, match=f"cannot listen on {at}"):
            opened(stack, f"unix:{path},{at}")
        assert not path.exists()


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_without_ipv6_its_loopback_is_left_out(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    system = listening_sockets

    def without_ipv6(address: Address) -> list[socket.socket]:
        if ":" in address.host:
            raise OSError(number, f"cannot listen on {address}: no IPv6")
        return system(address)

    monkeypatch.setattr("pog.client.endpoints.listening_sockets", without_ipv6)
    with ExitStack() as stack:
        (only,) = opened(stack, "127.0.0.1:0,[::1]:0")
        assert isinstance(only.endpoint.at, Address)
        assert only.endpoint.at.host == "127.0.0.1"
        for asked in ("[::1]:0", "127.0.0.1:0,[fe80::1]:0"):
            with pytest.raises(OSError, match="no IPv6"):
                opened(stack, asked)


def test_a_taken_port_of_ipv6_is_not_left_out() -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken, ExitStack() as stack:
        with pytest.raises(OSError, match="in use"):
            opened(stack, f"127.0.0.1:0,[::1]:{taken.getsockname()[1]}")


def test_what_was_handed_over_takes_the_place(tmp_path: Path) -> None:
    path = tmp_path / "theirs"
    inet, unix = socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX)
    unix.bind(str(path))
    unix.listen()
    with ExitStack() as stack:
        found = opened(stack, f"unix:{tmp_path}/ours", Inherited(inet, "https"), Inherited(unix, ""))
        assert [str(each.endpoint) for each in found] == ["https://{}:{}".format(*inet.getsockname()), f"unix:{path}"]
        assert inet.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert not (tmp_path / "ours").exists()
    assert path.exists(), "the file is the parent's"


@pytest.mark.parametrize(
    ("listen", "files", "problem"),
    [
        ("https://:1", (), "CLIENT_TLS_CERT: is not set; https:// in CLIENT_LISTEN needs it"),
        (":1", ("cert",), "CLIENT_TLS_CERT: is used by no endpoint"),
        ("https://:1", ("key",), "CLIENT_TLS_CERT: is not set"),
        (":1", ("key",), "CLIENT_TLS_CERT: is not set, but CLIENT_TLS_KEY is"),
    ],
)
def test_a_certificate_and_no_use_for_it(
    listen: str, files: tuple[str, ...], problem: str, authority: Authority
) -> None:
    given: dict[str, Any] = {f"tls_{name}": str(getattr(authority, f"{name}_file")) for name in files}
    with pytest.raises(SettingsError, match=problem):
        certificate_for(replace(SETTINGS, **given), parse_endpoints(listen), ())


def test_a_certificate_where_it_is_needed(authority: Authority) -> None:
    settings = replace(SETTINGS, tls_cert=str(authority.cert_file), tls_key=str(authority.key_file))
    with socket.create_server(("127.0.0.1", 0)) as sock:
        assert certificate_for(settings, parse_endpoints("https://:1,:2"), ())
        assert certificate_for(settings, (), [Inherited(sock, "https")])
        with pytest.raises(SettingsError, match="used by no endpoint"):
            certificate_for(settings, parse_endpoints("https://:1"), [Inherited(sock, "")])
    assert certificate_for(SETTINGS, parse_endpoints(":1"), ()) is None
    assert Endpoint(Address("", 1), tls=True) in parse_endpoints("https://:1")
