"""Contents: where they end, that they pass at once and unchanged, and what is refused."""

from collections.abc import Callable

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.front.bodies import Body, Chunked, Counted, UntilEnd
from pog.front.heads import MAX_HEAD_BYTES, Malformed


def feed(body: Body, *pieces: bytes) -> tuple[bytes, bytes]:
    """All that passed, and all that lay behind the end."""
    passed = behind = b""
    for piece in pieces:
        passing, rest = body.receive_data(piece)
        passed += passing
        behind += rest
    return passed, behind


def splits(data: bytes) -> list[list[bytes]]:
    """Whole, byte by byte, and in two at every place."""
    return [[data], [data[i : i + 1] for i in range(len(data))]] + [[data[:i], data[i:]] for i in range(len(data))]


CHUNKS = b"5\r\nhello\r\n0A ;ext=1\r\n0123456789\r\n"
END = b"0\r\n\r\n"
TRAILERS = b"000\r\nX-Sum: 1\r\nY:2\r\n\r\n"


@pytest.mark.parametrize(
    ("make", "content"),
    [
        (lambda: Counted(15), b"hello0123456789"),
        (Chunked, CHUNKS + END),
        (Chunked, END),
        (Chunked, CHUNKS + b"0;last\r\nX-Sum: 1\r\nY: 2\r\n\r\n"),
    ],
)
def test_what_passes_and_what_is_behind_in_every_split(make: Callable[[], Body], content: bytes) -> None:
    for pieces in splits(content + b"GET / next"):
        body = make()
        assert feed(body, *pieces) == (content, b"GET / next")
        assert body.complete
        body.receive_eof()


def test_decoded_for_a_receiver_that_knows_no_chunks() -> None:
    for end in (END, TRAILERS):
        for pieces in splits(CHUNKS + end + b"behind"):
            assert feed(Chunked(decoded=True), *pieces) == (b"hello0123456789", b"behind")


def test_a_piece_within_a_content_is_the_same_object() -> None:
    piece = bytes(70_000)
    for body in (Counted(10**9), UntilEnd(), Chunked()):
        if isinstance(body, Chunked):
            body.receive_data(b"fffffff\r\n")
        passing, behind = body.receive_data(piece)
        assert passing is piece
        assert behind == b""
    chunk = b"10000\r\n" + bytes(0x10000) + b"\r\n"
    assert Chunked().receive_data(chunk)[0] is chunk


def test_a_chunk_passes_with_its_line_end_before_the_next_one_comes() -> None:
    body = Chunked()
    assert body.receive_data(b"5\r\nhe") == (b"5\r\nhe", b"")
    assert body.receive_data(b"llo\r") == (b"llo\r", b"")
    assert body.receive_data(b"\n") == (b"\n", b"")


def test_a_size_passes_when_it_is_known_to_be_one() -> None:
    body = Chunked()
    assert body.receive_data(b"5\r\nhello\r\n1") == (b"5\r\nhello\r\n", b"")
    with pytest.raises(Malformed):
        body.receive_data(b"x0\r\n")


def test_trailer_fields_pass_except_those_that_must_not_be_there() -> None:
    trailers = (
        b"X-Sum: 1\r\nContent-Length: 5\r\nTRANSFER-ENCODING: chunked\r\nHost: evil\r\nSet-Cookie: a\r\nY:2\r\n\r\n"
    )
    for pieces in splits(CHUNKS + b"0\r\n" + trailers + b"behind"):
        assert feed(Chunked(), *pieces) == (CHUNKS + b"0\r\nX-Sum: 1\r\nY: 2\r\n\r\n", b"behind")


SIZE_LINES = [
    *(b"0x5\r\n", b"5_0\r\n", b"+5\r\n", b"-5\r\n", b" 5\r\n", b"\t5\r\n", b"5g\r\n", b"\r\n", b";a\r\n", b"5 5\r\n"),
    *(
        b"5\n",
        b"5;a\n",
        b"5;a\nb\r\n",
        b"5\r",
        b"5;a\rb\r\n",
        b"5;a\x00\r\n",
        b"5\x0b\r\n",
        b"5;\xe4\r\n",
        b"\xb25\r\n",
    ),
    *(b"10000000000000000\r\n", b"00000000000000005\r\n", b"7ffffffffffffffe\r\n", b"ffffffffffffffff\r\n"),
]


@pytest.mark.parametrize("line", SIZE_LINES)
def test_sizes_that_are_refused_and_never_pass(line: bytes) -> None:
    for before in (b"", b"3\r\nabc\r\n"):
        for pieces in splits(before + line + b"hello\r\n" + END):
            body = Chunked()
            passed = b""
            with pytest.raises(Malformed):
                for piece in pieces:
                    passed += body.receive_data(piece)[0]
            assert before.startswith(passed)


@pytest.mark.parametrize("end", [b"\n", b"\r\r", b"xx", b"\rx", b"\n\r"])
def test_a_chunk_ends_where_its_size_says(end: bytes) -> None:
    for pieces in splits(b"5\r\nhello" + end + END):
        with pytest.raises(Malformed):
            feed(Chunked(), *pieces)


@pytest.mark.parametrize(
    "trailers",
    [b"A : b\r\n\r\n", b"A: b\r\n c\r\n\r\n", b"A: b\n\n\r\n\r\n", b"\n\r\n\r\n", b"A: \x00\r\n\r\n", b"A\r\n\r\n"],
)
def test_trailer_sections_that_are_refused(trailers: bytes) -> None:
    for pieces in splits(b"0\r\n" + trailers):
        with pytest.raises(Malformed):
            feed(Chunked(), *pieces)


def test_what_is_held_is_bounded() -> None:
    extension = b"5;" + b"x" * 2000 + b"\r\n"
    trailers = b"0\r\nA: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n"
    for data in (extension, trailers):
        for pieces in ([data], [data[:1500], data[1500:]], [data[:-3], data[-3:]]):
            with pytest.raises(Malformed):
                feed(Chunked(), *pieces)


def test_a_content_that_is_cut_short() -> None:
    for body, received in (
        (Counted(5), b"hell"),
        (Counted(5), b""),
        (Chunked(), b""),
        (Chunked(), b"5\r\nhello\r\n"),
        (Chunked(), b"0\r\n"),
    ):
        feed(body, received)
        with pytest.raises(Malformed):
            body.receive_eof()


def test_a_content_that_ends_with_the_connection() -> None:
    body = UntilEnd()
    assert feed(body, b"0\r\n\r\n", b"more") == (b"0\r\n\r\nmore", b"")
    assert not body.complete
    body.receive_eof()
    assert body.complete


PIECES = st.sampled_from(
    [b"0", b"5", b"a", b"F", b"\r\n", b"\n", b"\r", b" ", b";", b";x=y", b"hello", b"5\r\nhello\r\n", b"0\r\n\r\n"]
    + [b"A: b\r\n", b"0\r\n", b"x", b"_", b"+", b"\t", b"\x00", b"\xff"]
)


def h11_reads(data: bytes) -> tuple[bytes, bytes, list[tuple[bytes, bytes]]] | None:
    """The content, what is behind it, and the trailer fields; None while it is not complete. Raises h11's error."""
    server = h11.Connection(h11.SERVER)
    server.receive_data(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    assert isinstance(server.next_event(), h11.Request)
    content = b""
    while isinstance(event := server.next_event(), h11.Data):
        content += event.data
    if not isinstance(event, h11.EndOfMessage):
        return None
    return content, server.trailing_data[0], list(event.headers)


@given(st.lists(PIECES | st.binary(max_size=3), max_size=10), st.data())
def test_h11_reads_what_passes_in_the_same_way(parts: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(parts)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=4)))
    bounds = [0, *cuts, len(data)]
    split = [data[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    body, decoded = Chunked(), Chunked(decoded=True)
    try:
        passed, behind = feed(body, *split)
    except Malformed:
        with pytest.raises(Malformed):
            feed(Chunked(), data)
        with pytest.raises(Malformed):
            feed(decoded, *split)
        return
    content = feed(decoded, *split)[0]
    assert feed(Chunked(), data) == (passed, behind)
    theirs, of_passed = h11_reads(data), h11_reads(passed)
    assert body.complete == (theirs is not None)
    if theirs is not None:
        assert theirs[:2] == (content, behind)
        assert of_passed is not None
        assert of_passed[:2] == (content, b"")


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=5), st.data())
def test_every_right_content_passes(chunks: list[bytes], draw: st.DataObject) -> None:
    data = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + END
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    bounds = [0, *cuts, len(data)]
    split = [data[a:b] for a, b in zip(bounds, bounds[1:], strict=False)]
    assert feed(Chunked(), *split) == (data, b"")
    assert feed(Chunked(decoded=True), *split) == (b"".join(chunks), b"")
