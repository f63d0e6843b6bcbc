from __future__ import annotations

import asyncio
import socket
import sys

import pytest

from pog.net.keepalive import keep_alive


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system's own times count")
def test_what_a_listening_socket_accepts_has_its_keepalive() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        keep_alive(listener)
        with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            assert [accepted.getsockopt(socket.IPPROTO_TCP, name) for name in names] == [60, 15, 4]


def test_a_closed_socket_is_left_alone() -> None:
    sock = socket.socket()
    sock.close()
    keep_alive(sock)


@pytest.mark.loops("asyncio", "uvloop")
async def test_a_transport_keeps_its_socket() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        with listener.accept()[0] as accepted:
            sock = writer.get_extra_info("socket")
            assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            keep_alive(sock)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            accepted.send(b"still open")
            assert await reader.read(100) == b"still open"
        writer.close()
        await writer.wait_closed()
