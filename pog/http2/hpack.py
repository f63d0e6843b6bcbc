"""HPACK that remembers whole header blocks.

A proxy sends and receives the same few header lists thousands of times per second, and the hpack library walks each of
them field by field. What a block means depends only on its bytes and on the dynamic table, so as long as nothing was
added to the table, a block seen before means the same again.

1. The table counts its changes.
2. A block that changed nothing in the table is remembered together with that count.
3. A remembered block counts only while the count is the same; at the next change all are forgotten.

Fields that differ from call to call, and credentials, are sent as literals that are never indexed (RFC 7541 section
7.1.3): they stay out of the table, so they neither push out the constant ones nor can be guessed through it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hpack.table import HeaderTable

if TYPE_CHECKING:
    from collections.abc import Iterable

Headers = list[tuple[str, str]]

# What one connection may make us remember: so many blocks of so many encoded bytes each.
_REMEMBERED_BLOCKS = 32
_REMEMBERED_BYTES = 512

_NEVER_INDEXED = frozenset(
    {"authorization", "proxy-authorization", "cookie", "grpc-timeout", "grpc-message", "content-length"}
)

# The peer may allow us a larger table (RFC 7541 section 4.2); hpack looks through all of it for each field.
_LARGEST_TABLE = 4096
# hpack's Huffman coding takes time with the square of the length: 0.4 s for 60 kB.
_LARGEST_HUFFMAN = 1024

# RFC 9113 section 8.2.2: these belong to a connection of HTTP/1.1.
_CONNECTION_FIELDS = frozenset({"connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"})
_ILLEGAL_IN_VALUES = frozenset("\0\r\n")


class CountingTable(HeaderTable):
    """The dynamic table, with a count of its changes."""

    def __init__(self) -> None:
        self.changes = 0
        super().__init__()

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return super().maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.fset(self, newmax)  # type: ignore[attr-defined]  # mypy does not see a property's setter


class KnownBlock(list[HeaderTuple]):
    """A decoded header block.

    `plain`: neither an informational response nor a content-length is in it. `checked` is for its reader: the checked
    headers, by the kind of block.
    """

    __slots__ = ("checked", "plain")

    def __init__(self, fields: Iterable[HeaderTuple]) -> None:
        super().__init__(fields)
        self.checked: dict[type, Headers] = {}
        self.plain = not any(
            name == b"content-length" or (name == b":status" and value.startswith(b"1")) for name, value in self
        )


class RememberingDecoder(Decoder):
    """Decodes header blocks; raises what hpack's Decoder raises."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table: CountingTable = CountingTable()
        self._known: dict[bytes, KnownBlock] = {}
        self._known_at = 0

    def decode(self, data: bytes, raw: bool = False) -> KnownBlock:
        before = self.header_table.changes
        if before != self._known_at:
            self._known.clear()
            self._known_at = before
        elif (known := self._known.get(data)) is not None:
            return known
        block = KnownBlock(super().decode(data, raw=True))
        if self.header_table.changes == before and len(data) <= _REMEMBERED_BYTES:
            if len(self._known) >= _REMEMBERED_BLOCKS:
                self._known.clear()
            self._known[data] = block
        return block


class RememberingEncoder(Encoder):
    """Encodes header lists of our own making."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table: CountingTable = CountingTable()
        self._known: dict[tuple[tuple[str, str], ...], bytes] = {}
        self._known_at = 0

    @property
    def header_table_size(self) -> int:
        """Bytes, as RFC 7541 section 4.1 counts them; never more than the default."""
        return self.header_table.maxsize

    @header_table_size.setter
    def header_table_size(self, allowed: int) -> None:
        Encoder.header_table_size.fset(self, min(allowed, _LARGEST_TABLE))  # type: ignore[attr-defined]

    def encode_list(self, headers: Headers) -> bytes:
        """Raises ValueError for a field that HTTP/2 forbids, before anything has changed."""
        key = tuple(headers)
        before = self.header_table.changes
        if before != self._known_at:
            self._known.clear()
            self._known_at = before
        elif (known := self._known.get(key)) is not None:
            return known
        check_fields(headers)
        announces_size = self.header_table.resized
        short = sum(len(name) + len(value) for name, value in headers) <= _LARGEST_HUFFMAN
        block = self.encode([_field(name, value) for name, value in headers], huffman=short)
        if self.header_table.changes == before and not announces_size and len(block) <= _REMEMBERED_BYTES:
            if len(self._known) >= _REMEMBERED_BLOCKS:
                self._known.clear()
            self._known[key] = block
        return block


def _field(name: str, value: str) -> HeaderTuple:
    kind = NeverIndexedHeaderTuple if name in _NEVER_INDEXED else HeaderTuple
    # White space around a value is illegal on the wire; as in h2, what we are given may have it.
    return kind(name.encode(), value.strip(" \t").encode("latin-1"))


def check_fields(headers: Headers) -> None:
    """Raises ValueError for a field that may not be sent (RFC 9113 sections 8.2.1 and 8.2.2)."""
    regular = False
    for name, value in headers:
        if not name or name != name.lower() or not name.isascii() or not name.isprintable() or " " in name:
            raise ValueError(f"illegal header name {name!r}")
        if name in _CONNECTION_FIELDS or (name == "te" and value != "trailers"):
            raise ValueError(f"header {name!r} belongs to a connection of HTTP/1.1")
        if not _ILLEGAL_IN_VALUES.isdisjoint(value):
            raise ValueError(f"illegal value of header {name!r}")
        if name[0] != ":":
            regular = True
        elif regular:
            raise ValueError(f"pseudo-header {name!r} after a regular one")
