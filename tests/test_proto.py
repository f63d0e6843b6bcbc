"""The generated stubs are those of protos/, and the messages are the original's on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pog.proto.grpcproxy_pb2 import ConnectRequest, ConnectResponse, HTTPError, Packet
from tests.proto import PACKAGE, ROOT, generate

if TYPE_CHECKING:
    from pathlib import Path


def test_the_stubs_are_fresh(tmp_path: Path) -> None:
    generate(tmp_path)
    fresh = {path.name: path.read_text() for path in (tmp_path / PACKAGE).iterdir()}
    ours = {name: (ROOT / PACKAGE / name).read_text() for name in fresh}
    assert ours == fresh, "run: make proto"


@pytest.mark.parametrize(
    ("packet", "wire"),
    [
        (Packet(payload=b"hi"), "0a026869"),
        (Packet(connect_request=ConnectRequest(host_port="a:1")), "12050a03613a31"),
        (Packet(connect_response=ConnectResponse()), "1a00"),
        (
            Packet(connect_response=ConnectResponse(error=HTTPError(status_code=503, error="no"))),
            "1a090a0708f70312026e6f",
        ),
    ],
)
def test_the_messages_are_those_of_the_original(packet: Packet, wire: str) -> None:
    """Bytes written by hand from the original's .proto file."""
    assert packet.SerializeToString().hex() == wire
    assert Packet.FromString(bytes.fromhex(wire)) == packet
