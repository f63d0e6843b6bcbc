"""Heads: where they end, what they say, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.front.heads import (
    MAX_HEAD_BYTES,
    Malformed,
    content_length,
    read_answer,
    read_request,
    read_trailers,
    request_buffer,
)


def test_a_head_and_what_is_behind_it_in_every_split() -> None:
    data = b"GET / HTTP/1.1\r\nA: b\r\n\r\nbehind\r\n\r\n"
    for cut in range(len(data) - 10):
        buffer = request_buffer()
        first = buffer.receive_data(data[:cut])
        if first is None:
            assert buffer.received == data[:cut]
            first = buffer.receive_data(data[cut:])
            assert first == (b"GET / HTTP/1.1\r\nA: b\r\n", b"behind\r\n\r\n")
        assert first[0] == b"GET / HTTP/1.1\r\nA: b\r\n"
        assert buffer.received == b"", "ready for the next one"


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
def test_every_end_of_a_head(end: bytes) -> None:
    received = request_buffer().receive_data(b"GET / HTTP/1.0\r\nA: b" + end + b"x")
    assert received is not None
    assert read_request(received[0]).fields == [(b"a", b"A", b"b")]
    assert received[1] == b"x"


def test_the_limit_does_not_depend_on_the_split() -> None:
    def head(size: int) -> bytes:
        return b"GET / HTTP/1.1\r\nA: " + b"x" * (size - 23) + b"\r\n\r\n"

    assert len(head(100)) == 100
    assert request_buffer().receive_data(head(MAX_HEAD_BYTES) + bytes(100_000)) is not None
    for pieces in ([head(MAX_HEAD_BYTES + 1)], [head(MAX_HEAD_BYTES + 1)[:1000], head(MAX_HEAD_BYTES + 1)[1000:]]):
        buffer = request_buffer()
        with pytest.raises(Malformed, match="longer than 64 KiB") as caught:
            for piece in pieces:
                buffer.receive_data(piece)
        assert caught.value.status == 431


def test_a_request() -> None:
    head = read_request(b"PUT http://h/x?y HTTP/1.0\r\nX-One:1\r\nx-one: \t two\twords \t\r\nEmpty:\r\nLatin: \xe9\r\n")
    assert (head.method, head.target, head.minor) == ("PUT", "http://h/x?y", 0)
    assert head.fields == [
        (b"x-one", b"X-One", b"1"),
        (b"x-one", b"x-one", b"two\twords"),
        (b"empty", b"Empty", b""),
        (b"latin", b"Latin", b"\xe9"),
    ]


def test_an_answer() -> None:
    head = read_answer(b"HTTP/1.1 299 Fine \xfc by me\r\nA: b\r\n")
    assert (head.status, head.reason, head.minor) == (299, b"Fine \xfc by me", 1)
    assert [read_answer(line).reason for line in (b"HTTP/1.0 200 \r\n", b"HTTP/1.0 200\r\n")] == [b"", b""]


BAD_LINES = {
    "space before the colon": b"Name : x",
    "tab before the colon": b"Name\t: x",
    "obs-fold": b"Name: x\r\n continued",
    "obs-fold with a tab": b"Name: x\r\n\tcontinued",
    "fold at the beginning": b" Name: x",
    "no colon": b"Name",
    "no name": b": x",
    "NUL": b"Name: x\x00y",
    "NUL in the name": b"Na\x00me: x",
    "bare CR": b"Name: x\rOther: y",
    "CR before the line end": b"Name: x\r\r",
    "vertical tab": b"Name: x\x0b",
    "form feed": b"Name: \x0cx",
    "DEL": b"Name: \x7f",
    "separator in the name": b"Na(me: x",
    "not ASCII in the name": b"N\xe4me: x",
}


@pytest.mark.parametrize("line", BAD_LINES.values(), ids=BAD_LINES.keys())
def test_field_lines_that_two_parsers_read_differently(line: bytes) -> None:
    for end in (b"\r\n", b"\n"):
        with pytest.raises(Malformed) as caught:
            read_request(b"GET / HTTP/1.1\r\nHost: h\r\n" + line + end)
        assert caught.value.status == 400
        with pytest.raises(Malformed):
            read_answer(b"HTTP/1.1 200 OK\r\n" + line + end)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET  / HTTP/1.1", 400),
        (b"GET / HTTP/1.1 ", 400),
        (b" GET / HTTP/1.1", 400),
        (b"GET\t/ HTTP/1.1", 400),
        (b"GET /a b HTTP/1.1", 400),
        (b"GET /", 400),
        (b"GET / HTTP/1.11", 400),
        (b"GET / HTTP/2.0", 505),
    ],
)
def test_request_lines_that_are_refused(line: bytes, status: int) -> None:
    with pytest.raises(Malformed) as caught:
        read_request(line + b"\r\nHost: h\r\n")
    assert caught.value.status == status


@pytest.mark.parametrize(
    "line",
    [
        *(b"HTTP/2.0 200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 020 OK", b"HTTP/1.1  200 OK"),
        *(b"http/1.1 200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 200OK", b" HTTP/1.1 200 OK", b"ICY 200 OK", b""),
    ],
)
def test_status_lines_that_are_refused(line: bytes) -> None:
    with pytest.raises(Malformed):
        read_answer(line + b"\r\nA: b\r\n")


def test_a_long_name_is_read_and_not_remembered() -> None:
    name = b"X" * 5000
    assert read_request(b"GET / HTTP/1.1\r\n" + name + b": y\r\n").fields == [(name.lower(), name, b"y")]
    from pog.front.heads import _remembered

    with pytest.raises(Malformed):
        _remembered(b"not a name")
    before = _remembered.cache_info().currsize
    read_request(b"GET / HTTP/1.1\r\n" + name + b": y\r\n")
    assert _remembered.cache_info().currsize == before


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ([], None),
        ([b"0"], 0),
        ([b"007"], 7),
        ([b"5", b"5"], 5),
        ([b"5, 5", b"5"], 5),
        ([b"9223372036854775807"], 2**63 - 1),
    ],
)
def test_lengths(values: list[bytes], length: int | None) -> None:
    assert content_length(values) == length


@pytest.mark.parametrize(
    "value",
    [
        *(b"", b"+5", b"-5", b"5.0", b"0x5", b"5_0", b"5 5", b"5;5", b"5,6", b"5,", b",5", b"\xb25", b"five"),
        *(b"9223372036854775808", b"00000000000000000005", b"99999999999999999999", b"5\x0b"),
    ],
)
def test_lengths_that_are_refused(value: bytes) -> None:
    with pytest.raises(Malformed):
        content_length([value])
    with pytest.raises(Malformed):
        content_length([b"5", value])


def test_trailers() -> None:
    assert read_trailers(b"") == []
    assert read_trailers(b"A: b\r\nC:d\r\n") == [(b"a", b"A", b"b"), (b"c", b"C", b"d")]
    for block in (b"A: b\nC: d\r\n", b"A: b\rC: d\r\n", b"A : b\r\n", b"A: b\r\n c\r\n", b"A: \x00\r\n"):
        with pytest.raises(Malformed):
            read_trailers(block)


@given(st.binary(max_size=60))
def test_only_one_exception(data: bytes) -> None:
    for head in (data, b"GET / HTTP/1.1\r\n" + data + b"\r\n", b"HTTP/1.1 200 OK\r\n" + data + b"\r\n"):
        for read in (read_request, read_answer, read_trailers):
            try:
                read(head)
            except Malformed as malformed:
                assert str(malformed).isprintable()
