"""Codecs for grpclib's handlers, protobuf and JSON. A message that cannot be decoded is INVALID_ARGUMENT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError

if TYPE_CHECKING:
    from google.protobuf.message import Message


class BinaryCodec(ProtoCodec):
    """grpclib's own codec answers UNKNOWN to a malformed message, with a traceback in the log."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        try:
            return super().decode(data, message_type)
        except DecodeError:
            raise _unreadable(message_type) from None


class JsonCodec(CodecBase):
    """The JSON form of protobuf. Unknown fields are ignored, as in binary messages."""

    __content_subtype__ = "json"

    def encode(self, message: Message, message_type: Any) -> bytes:
        from google.protobuf import json_format

        return json_format.MessageToJson(message, indent=None, ensure_ascii=False).encode()

    def decode(self, data: bytes, message_type: Any) -> Any:
        from google.protobuf import json_format

        message = message_type()
        # Parse takes text and lists for messages without fields.
        if not data.lstrip(b" \t\r\n").startswith(b"{") and _is_object(message):
            raise _unreadable(message_type)
        try:
            return json_format.Parse(data, message, ignore_unknown_fields=True)
        except (json_format.ParseError, UnicodeDecodeError, RecursionError):
            raise _unreadable(message_type) from None


def _is_object(message: Message) -> bool:
    """Whether the JSON form of this type is an object; of some in google.protobuf, as Timestamp, it is not."""
    from google.protobuf import json_format

    return isinstance(json_format.MessageToDict(message), dict)


def _unreadable(message_type: Any) -> GRPCError:
    return GRPCError(Status.INVALID_ARGUMENT, f"the request is not a {message_type.DESCRIPTOR.full_name}")
