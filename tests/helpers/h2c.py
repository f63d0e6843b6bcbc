"""One HTTP/2 GET in plain text by prior knowledge, on the h2 library alone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events

from tests.helpers.user import SECONDS

if TYPE_CHECKING:
    from tests.helpers.user import Address


def get(address: Address, path: str) -> tuple[int, str]:
    """Status and text."""
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", path)]
    connection.send_headers(1, fields, end_stream=True)
    status, body = 0, b""
    with socket.create_connection(address, SECONDS) as sock:
        sock.sendall(connection.data_to_send())
        while data := sock.recv(1 << 16):
            for event in connection.receive_data(data):
                match event:
                    case h2.events.ResponseReceived(headers=headers):
                        status = int(dict(headers or ())[b":status"])
                    case h2.events.DataReceived(data=part, flow_controlled_length=length):
                        body += part or b""
                        connection.acknowledge_received_data(length or 0, 1)
                    case h2.events.StreamEnded():
                        return status, body.decode()
            sock.sendall(connection.data_to_send())
    raise EOFError(f"status {status}, then the connection ended after {body!r}")
