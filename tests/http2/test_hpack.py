from __future__ import annotations

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pog.http2.errors import CompressionError
from pog.http2.fields import Headers, check_sent
from pog.http2.hpack import RememberingDecoder, RememberingEncoder
from tests.http2 import factory

NAMES = st.sampled_from(["a", "b", "content-type", "authorization", "grpc-timeout", ":status", "x-long-name"])


def new_decoder(max_fields: int = 100, max_header_list_size: int = 65536) -> RememberingDecoder:
    return RememberingDecoder(max_fields=max_fields, max_header_list_size=max_header_list_size)


LISTS = st.lists(st.tuples(NAMES, st.sampled_from(["", "1", "200", "value", "x" * 300])), max_size=6)


@given(st.lists(st.sampled_from([0, 1, 2, 3]), max_size=30), st.lists(LISTS, min_size=4, max_size=4))
def test_remembering_changes_nothing(order: list[int], lists: list[Headers]) -> None:
    """Whatever was sent before, hpack's own decoder reads our blocks, and our decoder those of hpack's encoder."""
    encoder, theirs = RememberingEncoder(), hpack.Decoder()
    decoder, their_encoder = new_decoder(), hpack.Encoder()
    for index in order:
        fields = sorted(lists[index], key=lambda field: not field[0].startswith(":"))
        raw = [(name.encode(), value.encode()) for name, value in fields]
        assert list(theirs.decode(encoder.encode_list(fields), raw=True)) == raw
        assert list(decoder.decode(their_encoder.encode(raw), raw=True)) == raw


def test_a_known_list_is_encoded_once() -> None:
    encoder = RememberingEncoder()
    first, second, third = (encoder.encode_list(factory.REQUEST) for _ in range(3))
    assert len(second) < len(first)
    assert third is second


def test_a_known_block_is_decoded_once() -> None:
    encoder, decoder = RememberingEncoder(), new_decoder()
    blocks = [encoder.encode_list(factory.REQUEST) for _ in range(3)]
    first, second, third = (decoder.decode(each) for each in blocks)
    assert third is second
    assert list(first) == list(second)


def test_credentials_and_what_changes_with_every_call_stay_out_of_the_table() -> None:
    encoder = RememberingEncoder()
    encoder.encode_list([("authorization", "Basic eA=="), ("grpc-timeout", "1S"), ("content-type", "a/b")])
    assert [name for name, _ in encoder.header_table.dynamic_entries] == [b"content-type"]


def test_a_new_table_size_is_told_once() -> None:
    encoder, theirs = RememberingEncoder(), hpack.Decoder()
    encoder.encode_list(factory.REQUEST)
    theirs.decode(b"")
    encoder.header_table_size = 0
    blocks = [encoder.encode_list(factory.TRAILERS) for _ in range(3)]
    assert blocks[0][0] & 0xE0 == 0x20
    assert all(each[0] & 0xE0 != 0x20 for each in blocks[1:])


def test_a_peer_may_not_ask_for_a_larger_table_than_the_default() -> None:
    encoder = RememberingEncoder()
    encoder.header_table_size = 2**32 - 1
    for number in range(1000):
        encoder.encode_list([("x-number", str(number))])
    assert sum(32 + len(name) + len(value) for name, value in encoder.header_table.dynamic_entries) <= 4096


def test_a_long_value_is_not_coded_by_huffman() -> None:
    """hpack takes time with the square of its length; that it is sent as it is tells which way was gone."""
    encoder = RememberingEncoder()
    assert b"0" * 2000 in encoder.encode_list([("grpc-message", "0" * 2000)])
    assert b"0" * 100 not in encoder.encode_list([("grpc-message", "0" * 100)])


def test_what_is_remembered_is_bounded() -> None:
    decoder = new_decoder()
    for number in range(1000):
        decoder.decode(factory.block([("a", str(number))]))
    assert len(decoder._known) <= 32


@pytest.mark.parametrize(
    "field",
    [
        ("Upper", "x"),
        ("", "x"),
        ("sp ace", "x"),
        ("name", "line\r\nfeed"),
        ("name", "nul\0"),
        ("connection", "close"),
        ("transfer-encoding", "chunked"),
        ("te", "gzip"),
        ("ünicode", "x"),
    ],
)
def test_fields_that_may_not_be_sent(field: tuple[str, str]) -> None:
    encoder = RememberingEncoder()
    with pytest.raises(ValueError, match="header"):
        encoder.encode_list([(":status", "200"), field])
    assert not encoder.header_table.dynamic_entries


def test_white_space_around_a_value_is_trimmed() -> None:
    assert hpack.Decoder().decode(RememberingEncoder().encode_list([("a", " b\t")]), raw=True) == [(b"a", b"b")]


def test_a_pseudo_header_comes_first() -> None:
    with pytest.raises(ValueError, match="pseudo-header"):
        check_sent([("a", "b"), (":status", "200")])


REPRESENTATIONS = st.sampled_from(
    [b"\x82", b"\xbe", b"\xbf", b"\x00\x01a\x01b", b"\x40\x01a\x02bc", b"\x41\x01b", b"\x04\x01b", b"\x10\x01a\x01b"]
    + [
        b"\x7f\x00\x01b",
        b"\x40\x81\x1f\x01b",
        b"\x00\x01a\x82\x1f\x1f",
        b"\x20",
        b"\x3f\xe1\x1f",
        b"\xff\x00",
        b"\xff\x01",
    ]
    + [b"\x00\x01a\x7f\x05" + bytes(132), b"\xff\x80\x80\x80\x80\x80\x80\x01", b"\x00\x05a", b"\x40\x00\x85abc"]
)


@given(st.lists(st.lists(REPRESENTATIONS, max_size=8), max_size=6), st.integers(0, 5))
@settings(max_examples=500)
def test_a_block_that_is_skipped_does_the_same_to_the_table(blocks: list[list[bytes]], max_fields: int) -> None:
    """Read to its end or not, decoded or only skipped: the table is the one that hpack's own decoder has."""
    theirs, ours, skipping = hpack.Decoder(), new_decoder(max_fields), new_decoder()
    for parts in blocks:
        block = b"".join(parts)
        try:
            expected = [*theirs.decode(block, raw=True)]
        except hpack.HPACKError:
            with pytest.raises(CompressionError):
                ours.decode(block)
            with pytest.raises(CompressionError):
                skipping.skip(block)
            return
        found = ours.decode(block)
        skipping.skip(block)
        assert [*found] == expected[: len(found)]
        assert found.complete == (len(expected) <= max_fields)
        for each in (ours, skipping):
            assert [*each.header_table.dynamic_entries] == [*theirs.header_table.dynamic_entries]
            assert each.header_table.maxsize == theirs.header_table.maxsize


def test_what_is_skipped_costs_little_and_what_is_known_nothing() -> None:
    decoder = new_decoder()
    decoder.decode(b"\x82" * 2500)
    assert 100 < decoder.work <= 500
    before = decoder.work
    for _ in range(100):
        decoder.decode(b"\x82" * 10)
        decoder.skip(b"\x82" * 10)
    assert decoder.work == before + 10
