"""One HTTP/2 request in plain text by prior knowledge, on the h2 library alone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events

from tests.helpers.user import SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.helpers.user import Address


def get(address: Address, path: str, fields: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and text."""
    answer, body = request(address, "GET", path, *(fields or {}).items())
    return int(answer[":status"]), body.decode()


def request(
    address: Address, method: str, path: str, *more: tuple[str, str], content: bytes = b""
) -> tuple[dict[str, str], bytes]:
    """The fields of the answer, its trailers among them, and its content."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    fields = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path), *more]
    connection.send_headers(1, fields, end_stream=not content)
    if content:
        connection.send_data(1, content, end_stream=True)
    answer: dict[str, str] = {}
    body = b""
    with socket.create_connection(address, SECONDS) as sock:
        sock.sendall(connection.data_to_send())
        while data := sock.recv(1 << 16):
            for event in connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(headers=headers) | h2.events.TrailersReceived(headers=headers):
                        answer |= {str(name): str(value) for name, value in headers or ()}
                    case h2.events.DataReceived(data=part, flow_controlled_length=length):
                        body += part or b""
                        connection.acknowledge_received_data(length or 0, 1)
                    case h2.events.StreamEnded():
                        return answer, body
            sock.sendall(connection.data_to_send())
    raise EOFError(f"{answer}, then the connection ended after {body!r}")
