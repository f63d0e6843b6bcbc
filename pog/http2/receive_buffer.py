"""Content that waits for its reader. [pure]

Small pieces are joined as they come: the windows count bytes, and a piece on its own costs a hundred of them whatever
its size. A peer that cuts its content into pieces of a byte would otherwise occupy a hundred windows of memory.

The buffer also knows for how much of its content credit has been returned to the peer already: a message that a reader
waits for may be larger than the window, so its bytes count as taken while they are still here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pog.http2.scheduler import Chunk

# A piece below this size takes in the next ones until it has it; bytes.
_JOINED_BYTES = 16 * 1024


class ReceiveBuffer:
    """A queue of bytes. `size` is how many there are; for `credited` of them credit has been returned already."""

    __slots__ = ("_pieces", "credited", "size")

    def __init__(self) -> None:
        # No deque: an empty one takes 0.6 KB, and there are never more than hundreds of pieces.
        self._pieces: list[bytes | bytearray | memoryview] = []
        self.size = 0
        self.credited = 0

    def add(self, data: Chunk) -> None:
        """Appends a copy: a view would keep all that was read with it in memory."""
        pieces = self._pieces
        self.size += len(data)
        if len(data) >= _JOINED_BYTES:
            pieces.append(bytes(data))
        elif pieces and isinstance(last := pieces[-1], bytearray) and len(last) < _JOINED_BYTES:
            last += data
        else:
            pieces.append(bytearray(data))

    def put_back(self, data: Chunk) -> None:
        """Content that was taken before, and credited then, comes first again."""
        self._pieces.insert(0, bytes(data))
        self.size += len(data)
        self.credited += len(data)

    def take_piece(self) -> tuple[Chunk, int]:
        """The first piece, of any size, and how many of its bytes have still to be credited."""
        piece = self._pieces.pop(0)
        chunk = bytes(piece) if isinstance(piece, bytearray) else piece
        return chunk, self._uncredited(len(chunk))

    def take(self, size: int) -> tuple[bytes, int]:
        """Exactly `size` bytes, which must be there, and how many of them have still to be credited."""
        pieces = self._pieces
        taken: list[bytes | bytearray | memoryview] = []
        missing = size
        while missing:
            piece = pieces[0]
            if len(piece) > missing:
                view = memoryview(piece)  # from now on nothing is added to this piece
                taken.append(view[:missing])
                pieces[0] = view[missing:]
                break
            taken.append(pieces.pop(0))
            missing -= len(piece)
        return b"".join(taken), self._uncredited(size)

    def clear(self) -> tuple[int, int]:
        """Drops everything: how many bytes there were, and how many of them have still to be credited."""
        size, credit = self.size, self.size - self.credited
        self._pieces, self.size, self.credited = [], 0, 0
        return size, credit

    def credit_ahead(self, wanted: int) -> int:
        """How many bytes are to be credited now, since a reader waits for the first `wanted` ones together."""
        credit = max(0, min(self.size, wanted) - self.credited)
        self.credited += credit
        return credit

    def _uncredited(self, size: int) -> int:
        """`size` bytes have left; what was credited ahead was the first of them."""
        self.size -= size
        credit = max(0, size - self.credited)
        self.credited -= size - credit
        return credit
