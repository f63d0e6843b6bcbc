from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.errors import ProtocolViolation
from pog.proto.grpcproxy_pb2 import ConnectRequest, HalfClose, Packet
from pog.wire import encode
from pog.wire.decode import Decoder
from pog.wire.framing import LARGEST_MESSAGE

Event = bytes | Packet


def framed(body: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(body).to_bytes(4, "big") + body


def varint(number: int, extra: int = 0) -> bytes:
    """`extra` bytes longer than needed, which protobuf allows."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    for _ in range(extra):
        out[-1] |= 0x80
        out.append(0)
    return bytes(out)


def payload_field(data: bytes, extra: int = 0) -> bytes:
    return b"\x0a" + varint(len(data), extra) + data


UNKNOWN_FIELD = b"\x7a\x03abc"
UNKNOWN_NUMBER = b"\x78" + varint(300)
CONNECT = Packet(connect_request=ConnectRequest(host_port="a:1"))


def events(pieces: list[bytes], decoder: Decoder | None = None) -> list[Event]:
    """What was decoded, with the slices of payload joined."""
    decoder = decoder or Decoder()
    found: list[Event] = []
    for piece in pieces:
        for item in decoder.feed(piece):
            if isinstance(item, Packet):
                found.append(item)
            elif found and isinstance(found[-1], bytes):
                found[-1] += bytes(item)
            else:
                found.append(bytes(item))
    return found


MESSAGES: list[tuple[bytes, list[Event]]] = [
    (framed(payload_field(b"x")), [b"x"]),
    (framed(payload_field(b"y" * 127)), [b"y" * 127]),
    (framed(payload_field(b"z" * 300)), [b"z" * 300]),
    (framed(payload_field(b"long", extra=2)), [b"long"]),
    (framed(payload_field(b"longest", extra=4)), [b"longest"]),
    (framed(UNKNOWN_FIELD + payload_field(b"before")), [b"before"]),
    (framed(payload_field(b"after") + UNKNOWN_FIELD), [b"after"]),
    (framed(payload_field(b"number") + UNKNOWN_NUMBER), [b"number"]),
    (framed(payload_field(b"first") + payload_field(b"last wins")), [b"last wins"]),
    (framed(CONNECT.SerializeToString() + payload_field(b"payload wins")), [b"payload wins"]),
    (framed(payload_field(b"loses") + CONNECT.SerializeToString()), [CONNECT]),
    (framed(payload_field(b"")), []),
    (framed(CONNECT.SerializeToString()), [CONNECT]),
    (encode.HALF_CLOSE, [Packet(half_close=HalfClose())]),
    (encode.HALF_CLOSE[:4] + b"\x04" + b"\x22\x02\x78\x01", [Packet.FromString(b"\x22\x02\x78\x01")]),
]


@pytest.mark.parametrize(("data", "expected"), MESSAGES)
def test_every_message_in_every_two_pieces_and_byte_by_byte(data: bytes, expected: list[Event]) -> None:
    for split in range(len(data) + 1):
        assert events([data[:split], data[split:]]) == expected
    assert events([bytes([byte]) for byte in data]) == expected


@pytest.mark.parametrize(("data", "expected"), MESSAGES)
def test_every_message_between_others(data: bytes, expected: list[Event]) -> None:
    other = framed(CONNECT.SerializeToString())
    assert events([other + data + other]) == [CONNECT, *expected, CONNECT]


@given(st.data())
def test_any_splitting_gives_the_same(data: st.DataObject) -> None:
    chosen = data.draw(st.lists(st.sampled_from(MESSAGES), max_size=12))
    stream = b"".join(message for message, _ in chosen)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    decoder = Decoder()
    assert events(pieces, decoder) == events([stream])
    assert decoder.between_messages


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_what_protobuf_makes_of_any_bytes(body: bytes, at: list[int]) -> None:
    """Any message gives what the parser gives, however it comes; where that fails, a typed error."""
    data = framed(body)
    cuts = sorted(min(cut, len(data)) for cut in at)
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    try:
        found = events(pieces)
    except ProtocolViolation:
        with pytest.raises(ProtocolViolation):
            events([data])
        return
    packet = Packet.FromString(body)
    match packet.WhichOneof("union"):
        case "payload":
            assert found == ([packet.payload] if packet.payload else [])
        case None:
            pytest.fail("a packet without a member was taken")
        case _:
            assert found == [packet]


def test_payload_is_passed_on_before_its_message_has_ended() -> None:
    decoder = Decoder()
    message = encode.message(Packet(payload=b"a" * 1000))
    assert [bytes(item) for item in decoder.feed(message[:500]) if not isinstance(item, Packet)] == [message[8:500]]
    assert not decoder.between_messages
    rest = message[500:]
    assert decoder.feed(rest) == [rest]
    assert decoder.feed(rest[:0]) == []
    assert decoder.between_messages


def test_a_piece_inside_a_payload_is_passed_on_as_it_is() -> None:
    decoder = Decoder()
    message = encode.message(Packet(payload=bytes(10_000)))
    decoder.feed(message[:100])
    piece = memoryview(message)[100:9000]
    assert decoder.feed(piece)[0] is piece


def test_a_payload_may_be_larger_than_what_is_collected() -> None:
    size = LARGEST_MESSAGE + 1000
    body = payload_field(bytes(size))
    assert events([framed(body)]) == [bytes(size)]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (framed(b""), "got wrong packet type"),
        (framed(UNKNOWN_FIELD), "got wrong packet type"),
        (framed(payload_field(b"x"), flag=1), "compressed"),
        (framed(b"\xff\xff\xff"), "no Packet"),
        (framed(b"\x0a\x05ab"), "no Packet"),
        (b"\0\xff\xff\xff\xff" + b"\x12\x01a", "the limit is"),
        (b"\0\xff\xff\xff\xff" + b"\x0a\xf9\xff\xff\xff\x0fabc", "the limit is"),
    ],
)
def test_errors_are_typed_and_stay(data: bytes, says: str) -> None:
    for pieces in ([data], [bytes([byte]) for byte in data]):
        decoder = Decoder()
        with pytest.raises(ProtocolViolation, match=says):
            events(pieces, decoder)
        with pytest.raises(ProtocolViolation, match=says):
            decoder.feed(framed(payload_field(b"x")))


def test_what_came_before_an_error_is_not_needed_but_nothing_comes_after() -> None:
    decoder = Decoder()
    assert decoder.feed(framed(payload_field(b"good"))) == [b"good"]
    with pytest.raises(ProtocolViolation):
        decoder.feed(framed(b"") + framed(payload_field(b"bad")))
