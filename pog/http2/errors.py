"""What a peer does wrong, beside h2's own exceptions. [pure]

Whose error it is decides what ends (RFC 9113 section 5.4).

h2.exceptions.ProtocolError     an error of the connection
+-- CompressionError                a header block that cannot be decoded: the tables are out of step
+-- StreamError                     an error of one stream, which is reset; the others go on
    +-- FieldsTooLarge                  more fields than we take, decoded all the same
"""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError


class CompressionError(ProtocolError):
    """A header block cannot be decoded, which is an error of the connection (RFC 9113 section 4.3)."""

    error_code = ErrorCodes.COMPRESSION_ERROR


class StreamError(ProtocolError):
    """The peer broke a rule on one stream, which is to be reset with `error_code`."""

    def __init__(self, stream_id: int, error_code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.stream_id = stream_id
        self.error_code = error_code


class FieldsTooLarge(StreamError):
    """A message has more fields, or longer ones, than we take. A request is answered with 431 (RFC 6585 section 5)."""

    def __init__(self, stream_id: int) -> None:
        super().__init__(stream_id, ErrorCodes.ENHANCE_YOUR_CALM, "more header fields than are accepted")
