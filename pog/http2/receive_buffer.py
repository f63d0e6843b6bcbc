"""Content that waits for its reader.

Small pieces are joined as they come: the windows count bytes, and a piece on its own costs a hundred of them whatever
its size. A peer that cuts its content into pieces of a byte would otherwise hold a hundred windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pog.http2.scheduler import Chunk

# A piece below this size takes in the next ones until it has it.
_JOINED_BYTES = 16 * 1024


class ReceiveBuffer:
    """A queue of bytes. Whoever adds to it and takes from it keeps count of its size."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        # No deque: an empty one takes 0.6 KB, and there are never more than hundreds of pieces.
        self._pieces: list[bytes | bytearray | memoryview] = []

    def add(self, data: Chunk) -> None:
        """A copy: a view would hold everything that was read with it."""
        pieces = self._pieces
        if len(data) >= _JOINED_BYTES:
            pieces.append(bytes(data))
        elif pieces and isinstance(last := pieces[-1], bytearray) and len(last) < _JOINED_BYTES:
            last += data
        else:
            pieces.append(bytearray(data))

    def add_first(self, data: Chunk) -> None:
        """What comes before everything that is held."""
        self._pieces.insert(0, bytes(data))

    def take_piece(self) -> Chunk:
        """The first piece, of any size."""
        piece = self._pieces.pop(0)
        return bytes(piece) if isinstance(piece, bytearray) else piece

    def take(self, size: int) -> bytes:
        """Exactly so many bytes, no more than are held."""
        pieces = self._pieces
        taken: list[bytes | bytearray | memoryview] = []
        while size:
            piece = pieces[0]
            if len(piece) > size:
                view = memoryview(piece)  # from now on nothing is added to this piece
                taken.append(view[:size])
                pieces[0] = view[size:]
                break
            taken.append(pieces.pop(0))
            size -= len(piece)
        return b"".join(taken)
