"""Messages as JSON; what a server answers to what is none is shown in tests/e2e/test_services.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.empty_pb2 import Empty
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BoolValue, Int64Value, StringValue
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from pog.server.codecs import JsonCodec

if TYPE_CHECKING:
    from google.protobuf.message import Message

CODEC = JsonCodec()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'"abc"', StringValue(value="abc")),
        (b" true\n", BoolValue(value=True)),
        (b'"7"', Int64Value(value=7)),
        (b'"2035-11-12T05:22:05Z"', Timestamp(seconds=2078457725)),
        (b'"1.5s"', Duration(seconds=1, nanos=500_000_000)),
        (b'"a,b"', FieldMask(paths=["a", "b"])),
        (b"null", Value(null_value=0)),  # type: ignore[arg-type]  # the stubs want the enum's own type
        (b"[1]", ListValue(values=[Value(number_value=1)])),
        (b' {"a":1}', Struct(fields={"a": Value(number_value=1)})),
        (b"\r\n\t{}", Empty()),
    ],
)
def test_some_messages_are_no_objects_in_json(data: bytes, message: Message) -> None:
    """A service of somebody's, served by pog.grpctest, may take them."""
    assert CODEC.decode(data, type(message)) == message


@pytest.mark.parametrize("data", [b'"abc"', b'""', b"[]", b"0", b"null", b"", b"\xff", b"\xc2\xa0{}"])
@pytest.mark.parametrize("message_type", [Empty, Struct, Any])
def test_the_others_are(data: bytes, message_type: type[Message]) -> None:
    with pytest.raises(GRPCError) as caught:
        CODEC.decode(data, message_type)
    assert caught.value.status is Status.INVALID_ARGUMENT
