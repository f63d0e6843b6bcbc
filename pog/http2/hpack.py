"""HPACK that remembers whole header blocks. [pure]

A proxy sends and receives the same few header lists thousands of times per second, and the hpack library walks each of
them field by field. What a block means depends only on its bytes and on the dynamic table, so as long as nothing was
added to the table, a block seen before means the same again.

1. The table counts its changes.
2. A block that changed nothing in the table is remembered together with that count.
3. A remembered block counts only while the count is the same; at the next change all are forgotten.

Fields that differ from call to call, and credentials, are sent as literals that are never indexed (RFC 7541 section
7.1.3): they stay out of the table, so they neither push out the constant ones nor can be guessed through it.

A block with more fields than are accepted is read to its end all the same, but only for its changes of the table:
without them the next block could not be decoded, and the connection, with the streams of all its users, would have to
end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from h2.exceptions import DenialOfServiceError
from hpack import Decoder, Encoder, HeaderTuple, HPACKDecodingError, HPACKError, NeverIndexedHeaderTuple
from hpack.hpack import decode_integer
from hpack.table import HeaderTable, table_entry_size

from pog.http2.errors import CompressionError
from pog.http2.fields import check_sent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pog.http2.fields import Headers

# What is remembered of one connection: this many blocks, of at most this many encoded bytes each.
_REMEMBERED_BLOCKS = 32
_REMEMBERED_BYTES = 512

_NEVER_INDEXED = frozenset(
    {"authorization", "proxy-authorization", "cookie", "grpc-timeout", "grpc-message", "content-length"}
)

# The peer may allow us a larger table (RFC 7541 section 4.2); hpack searches all of it for each field.
_LARGEST_TABLE = 4096
# hpack's Huffman coding takes time with the square of the length: 0.4 s for 60 kB.
_LARGEST_HUFFMAN = 1024

# A change of the table's size is said at most twice, before the first field (RFC 7541 section 4.2); a peer that says
# every change since the last block, as hpack's own encoder does, is forgiven.
_MOST_RESIZES = 16
# What a field of a header list counts for beside its text (RFC 9113 section 6.5.2).
_BYTES_PER_FIELD = 32
# To skip this many bytes takes about as long as to decode one field.
_SKIPPED_BYTES_PER_FIELD = 8
# hpack's own limit is 5 bytes behind the first.
_LONGEST_INTEGER = 12
# What hpack raises for blocks that are no blocks.
_UNREADABLE = (HPACKError, IndexError)


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

    `complete`: whether all of its fields are in it; there may have been too many. `plain`: neither an informational
    response nor a content-length is in it. `checked` is for its reader: the checked headers, by the kind of block.
    """

    __slots__ = ("checked", "complete", "plain")

    def __init__(self, fields: Iterable[HeaderTuple], *, complete: bool = True) -> None:
        super().__init__(fields)
        self.complete = complete
        self.checked: dict[type, Headers] = {}
        self.plain = not any(
            name == b"content-length" or (name == b":status" and value.startswith(b"1")) for name, value in self
        )


class RememberingDecoder(Decoder):
    """Decodes header blocks.

    Of a block it takes at most `max_fields` fields, and `max_header_list_size` bytes as RFC 9113 section 6.5.2 counts
    them. `work` is what was done so far, counted in fields.
    """

    def __init__(self, *, max_fields: int, max_header_list_size: int) -> None:
        super().__init__(max_header_list_size)
        self.header_table: CountingTable = CountingTable()
        self.max_fields = max_fields
        self.work = 0
        self._known: dict[bytes, KnownBlock] = {}
        self._known_at = 0

    def decode(self, data: bytes, raw: bool = False) -> KnownBlock:
        """Raises CompressionError, after which no other block could be understood."""
        before = self.header_table.changes
        if before != self._known_at:
            self._known.clear()
            self._known_at = before
        elif (known := self._known.get(data)) is not None:
            return known
        try:
            block = self._read(data)
        except _UNREADABLE as error:
            raise CompressionError(f"a header block that cannot be decoded: {error}") from error
        if block.complete and self.header_table.changes == before and len(data) <= _REMEMBERED_BYTES:
            if len(self._known) >= _REMEMBERED_BLOCKS:
                self._known.clear()
            self._known[data] = block
        return block

    def skip(self, data: bytes) -> None:
        """Reads a block only for its changes of the table. Raises CompressionError."""
        if self.header_table.changes == self._known_at and data in self._known:
            return
        try:
            self._skip(data, self._resize(data))
        except _UNREADABLE as error:
            raise CompressionError(f"a header block that cannot be decoded: {error}") from error

    def _read(self, data: bytes) -> KnownBlock:
        fields: list[HeaderTuple] = []
        view, size, pos, inflated = memoryview(data), len(data), self._resize(data), 0
        while pos < size and len(fields) < self.max_fields and inflated <= self.max_header_list_size:
            first = data[pos]
            if first & 0x80:
                field, length = self._decode_indexed(view[pos:])
            elif first & 0x40:
                field, length = self._decode_literal_index(view[pos:])
            elif first & 0x20:
                raise HPACKDecodingError("a table size update after a field")
            else:
                field, length = self._decode_literal_no_index(view[pos:])
            fields.append(field)
            inflated += table_entry_size(*field)
            pos += length
        self.work += len(fields)
        complete = pos >= size and inflated <= self.max_header_list_size
        if pos < size:
            self._skip(data, pos)
        return KnownBlock(fields, complete=complete)

    def _resize(self, data: bytes) -> int:
        """Follows the changes of the table's size, which come first. Returns where the fields begin."""
        pos = 0
        for _ in range(_MOST_RESIZES):
            if pos >= len(data) or data[pos] & 0xE0 != 0x20:
                break
            pos += self._update_encoding_context(data[pos : pos + _LONGEST_INTEGER])
        # The peer keeps to the size that we announced once it has acknowledged it (RFC 7541 section 4.2).
        self._assert_valid_table_size()
        return pos

    def _skip(self, data: bytes, pos: int) -> None:
        table, size, entries = self.header_table, len(data), 0
        self.work += (size - pos) // _SKIPPED_BYTES_PER_FIELD
        while pos < size:
            first, start = data[pos], pos
            if first & 0x80:  # an index of the table
                index, pos = _integer(data, pos, 0x7F)
                table.get_by_index(index)
                continue
            if first & 0x60 == 0x20:
                raise HPACKDecodingError("a table size update after a field")
            # A literal: the index of its name or the name, then the value.
            index, pos = _integer(data, pos, 0x3F if first & 0x40 else 0x0F)
            if index:
                table.get_by_index(index)
            else:
                pos = _behind_string(data, pos)
            pos = _behind_string(data, pos)
            if first & 0x40:
                # Fronts written in Go add every field to the table, as many as our MAX_HEADER_LIST_SIZE allows.
                entries += 1
                if entries * _BYTES_PER_FIELD > self.max_header_list_size:
                    raise DenialOfServiceError("a header list over our limit")
                self._decode_literal_index(data[start:pos])
        self.work += entries


def _integer(data: bytes, pos: int, mask: int) -> tuple[int, int]:
    """An integer that begins in the bits of `mask` (RFC 7541 section 5.1), and where it ends."""
    number = data[pos] & mask
    if number < mask:
        return number, pos + 1
    number, length = decode_integer(data[pos : pos + _LONGEST_INTEGER], mask.bit_length())
    return number, pos + length


def _behind_string(data: bytes, pos: int) -> int:
    size, pos = _integer(data, pos, 0x7F)
    if pos + size > len(data):
        raise HPACKDecodingError("a header block that ends within a field")
    return pos + size


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
        check_sent(headers)
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
