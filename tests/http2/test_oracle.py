"""h2 as the oracle: the same frames through h2 alone and through our connection.

Events, error codes and windows are the same, but for these differences, each on purpose:

* What is an error of one stream ends that stream, with the error code for which h2 ends the connection
  (test_whose_error).
* A message that ends by HEADERS with less content than announced is malformed (section 8.1.1); h2 does not see that.
* A frame inside a header block is a PROTOCOL_ERROR, whatever else is wrong with it (section 6.2).
* A header block that cannot be decoded is a COMPRESSION_ERROR (section 4.3); h2 says PROTOCOL_ERROR.
* PRIORITY and unknown frames are ignored, and no event.
* GOAWAY received or sent closes h2; with us live streams go on (test_connection).
* Streams over MAX_CONCURRENT_STREAMS are refused; h2 ends the connection (test_connection).
* HEADERS and DATA on a stream that we have reset are dropped in silence; h2 answers with RST_STREAM each time.
* RST_STREAM on an idle stream ends the connection (RFC 9113 section 6.4 says MUST); h2 ignores it.
* CONTINUATION without a header block ends the connection with PROTOCOL_ERROR, whatever its stream was; h2's code
  depends on how the stream was closed.
* A stream that a server opens ends the connection (section 8.4: only a promised one may come); h2 takes it for a
  request.
* PUSH_PROMISE, which nobody may send us, ends the connection at once; h2 first waits for the end of its header block.
* The reserved bit of WINDOW_UPDATE is ignored (section 6.9); h2 takes it for a too large increment.
"""

from __future__ import annotations

from typing import Any

import h2.events
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings
from hypothesis import given, settings
from hypothesis import strategies as st

from pog.http2 import frames
from pog.http2.config import ConnectionConfig
from pog.http2.connection import Connection
from pog.http2.events import ConnectionFailed, DataReceived, StreamFailed, WindowOpened
from pog.http2.scheduler import SendQueue
from pog.http2.windows import Budget
from tests.http2 import factory

STREAM_WINDOW = 1000
CONFIG = ConnectionConfig(
    stream_window=STREAM_WINDOW, stream_window_ceiling=0, connection_window=0, max_frame_size=16384
)

Normal = list[tuple[Any, ...]]


class Theirs:
    """h2 alone, set up as our connection is."""

    def __init__(self, *, client: bool) -> None:
        config = H2Configuration(client_side=client, header_encoding="latin-1", normalize_inbound_headers=True)
        self.h2 = H2Connection(config)
        values = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW}
        self.h2.local_settings = Settings(client, initial_values=values)
        self.h2.initiate_connection()
        self.output = b""
        self.error: int | None = None

    def receive(self, data: bytes) -> Normal:
        found: Normal = []
        try:
            for event in self.h2.receive_data(data):
                found += normal(event)
        except ProtocolError as error:
            self.error = int(error.error_code)
        self.output += self.h2.data_to_send()
        return joined(found)

    def open(self) -> None:
        self.h2.send_headers(self.h2.get_next_available_stream_id(), factory.REQUEST)

    def act(self, action: str, stream_id: int) -> None:
        stream = self.h2.streams.get(stream_id)
        if stream is None or stream.closed:
            return
        try:
            match action:
                case "respond":
                    self.h2.send_headers(stream_id, factory.RESPONSE)
                case "end":
                    self.h2.end_stream(stream_id)
                case "reset":
                    self.h2.reset_stream(stream_id, 8)
        except ProtocolError:
            self.error = -1

    def forget_closed(self) -> None:
        """h2 clears its table of streams only now and then; ours is always clear."""
        assert self.h2.open_inbound_streams + self.h2.open_outbound_streams <= len(self.h2.streams)

    def windows(self) -> dict[int, tuple[int, int]]:
        self.output += self.h2.data_to_send()
        given = factory.increments(self.output, 0)
        found = {0: (self.h2.inbound_flow_control_window - given, self.h2.outbound_flow_control_window)}
        for stream_id, stream in self.h2.streams.items():
            if stream.open:
                found[stream_id] = (stream.inbound_flow_control_window, stream.outbound_flow_control_window)
        return found


class Ours:
    """Our connection. Its budget is exhausted from the start, so no credit goes back by itself, as with h2."""

    def __init__(self, *, client: bool) -> None:
        self.connection = Connection(CONFIG, Budget(0), client=client, clock=float)
        self.connection.initiate()
        self.output = b""
        self.error: int | None = None

    def receive(self, data: bytes) -> Normal:
        found: Normal = []
        for event in self.connection.receive_data(data, 0.0):
            if isinstance(event, ConnectionFailed):
                self.error = event.error_code
            else:
                found += normal(event)
        self.output += b"".join(self.connection.data_to_send())
        return joined(found)

    def open(self) -> None:
        self.connection.open_stream(factory.REQUEST)

    def act(self, action: str, stream_id: int) -> None:
        stream = self.connection._machine.streams.get(stream_id)
        if stream is None:
            return
        try:
            match action:
                case "respond":
                    self.connection.outbound.send_headers(stream, factory.RESPONSE)
                case "end":
                    self.connection.outbound.end(SendQueue(stream))
                case "reset":
                    self.connection.reset_stream(stream, 8)
        except ProtocolError:
            self.error = -1

    def windows(self) -> dict[int, tuple[int, int]]:
        self.output += b"".join(self.connection.data_to_send())
        machine = self.connection._machine
        given = factory.increments(self.output, 0)
        found = {0: (machine.window.current_window_size - given, machine.outbound_flow_control_window)}
        for stream_id, stream in machine.streams.items():
            given = factory.increments(self.output, stream_id)
            found[stream_id] = (stream.window.current_window_size - given, stream.outbound_flow_control_window)
        return found


def normal(event: Any) -> Normal:
    """An event as a comparable value; window events are left out, the windows themselves are compared."""
    match event:
        case DataReceived() | h2.events.DataReceived():
            return [("data", event.stream_id, bytes(event.data))] if event.data else []
        case WindowOpened() | h2.events.WindowUpdated():
            return []
        case h2.events.UnknownFrameReceived() | h2.events.PriorityUpdated():
            return []
        case StreamFailed():
            return [("reset", event.stream_id, event.error_code, False)]
        case h2.events.RequestReceived() | h2.events.ResponseReceived() | h2.events.TrailersReceived():
            fields = [(str(name), str(value)) for name, value in event.headers]
            return [(type(event).__name__, event.stream_id, fields, event.stream_ended is not None)]
        case h2.events.StreamReset():
            return [("reset", event.stream_id, int(event.error_code), event.remote_reset)]
        case h2.events.PingReceived() | h2.events.PingAckReceived():
            return [(type(event).__name__, event.ping_data)]
        case h2.events.RemoteSettingsChanged():
            return [("settings", {int(code): changed.new_value for code, changed in event.changed_settings.items()})]
        case _:
            return [(type(event).__name__, getattr(event, "stream_id", None))]


def joined(found: Normal) -> Normal:
    """Neighbouring pieces of one stream's data as one."""
    result: Normal = []
    for each in found:
        if each[0] == "data" and result and result[-1][:2] == each[:2]:
            result[-1] = (*each[:2], result[-1][2] + each[2])
        else:
            result.append(each)
    return result


STREAM_IDS = st.sampled_from([0, 1, 1, 1, 2, 3, 3, 5, 7, 9])
BLOCKS = [
    factory.REQUEST,
    factory.REQUEST,
    factory.RESPONSE,
    factory.RESPONSE,
    factory.TRAILERS,
    [*factory.REQUEST, ("content-length", "5")],
    [*factory.RESPONSE, ("content-length", "5")],
    [*factory.REQUEST, ("content-length", "5"), ("content-length", "6")],
    [*factory.REQUEST, ("connection", "close")],
    [*factory.REQUEST, ("Upper", "case")],
    [*factory.REQUEST, (":late", "pseudo")],
    [*factory.REQUEST, ("cookie", "a=1"), ("cookie", "b=2")],
    factory.REQUEST[1:],
    [(":status", "100")],
    [("bad", "line\r\nfeed")],
]


def a_header_block(stream_id: int, fields: factory.Headers, flags: int, cut: int | None, between: bytes) -> bytes:
    """Whole, or in two parts with something between them."""
    body = factory.block(fields)
    if cut is None:
        return factory.frame(frames.HEADERS, flags | frames.END_HEADERS, stream_id, body)
    first = factory.frame(frames.HEADERS, flags, stream_id, body[:cut])
    return first + between + factory.frame(frames.CONTINUATION, frames.END_HEADERS, stream_id, body[cut:])


HEADERS = st.builds(
    a_header_block,
    STREAM_IDS,
    st.sampled_from(BLOCKS),
    st.sampled_from([0, 0, frames.END_STREAM]),
    st.sampled_from([None, None, None, 0, 3]),
    st.sampled_from([b"", b"", factory.data(1, b"x"), factory.window_update(0, 1), factory.settings()]),
)
DATA = st.builds(
    lambda stream_id, size, ends, padding: factory.data(stream_id, b"d" * size, end_stream=ends, padding=padding),
    STREAM_IDS,
    st.sampled_from([0, 1, 4, 5, 300, 700, STREAM_WINDOW, 9000, 16000]),
    st.booleans(),
    st.sampled_from([None, None, None, 0, 1, 200]),
)
WINDOW_UPDATE = st.builds(
    factory.window_update, STREAM_IDS, st.sampled_from([0, 1, 1000, 2**31 - 1 - 65535, 2**31 - 65535, 2**31 - 1])
)
SETTINGS = st.builds(
    factory.settings,
    st.dictionaries(
        st.sampled_from([1, 2, 3, 4, 5, 6, 8, 99]),
        st.sampled_from([0, 1, 100, 16384, 65535, 2**24 - 1, 2**31 - 1, 2**31]),
        max_size=2,
    ),
)
MALFORMED = st.builds(
    factory.frame,
    st.integers(0, 11).filter(lambda kind: kind not in (frames.GOAWAY, frames.RST_STREAM, frames.CONTINUATION)),
    st.integers(0, 255),
    STREAM_IDS,
    st.binary(max_size=12),
)
TOO_LONG = st.just(frames.header(16385, frames.DATA, 0, 1) + bytes(16385))
FRAME = st.one_of(
    HEADERS,
    HEADERS,
    DATA,
    DATA,
    WINDOW_UPDATE,
    SETTINGS,
    st.builds(factory.rst_stream, st.sampled_from([1, 1, 3]), st.sampled_from([0, 7, 8, 77])),
    st.just(factory.settings(ack=True)),
    st.just(factory.frame(frames.PING, 0, 0, b"pingping")),
    st.just(factory.frame(frames.PING, frames.ACK, 0, b"pingping")),
    st.just(factory.frame(frames.PRIORITY, 0, 3, bytes(5))),
    MALFORMED,
    TOO_LONG,
)
ACTION = st.tuples(st.sampled_from(["respond", "end", "reset"]), st.sampled_from([1, 1, 3, 5]))
SCRIPT = st.lists(st.one_of(FRAME, FRAME, FRAME, ACTION), max_size=14)


def differs(theirs: Theirs, step: bytes) -> bool:
    """Whether this frame is one of the listed differences."""
    stream_id = int.from_bytes(step[5:9], "big") & frames.LARGEST_STREAM_ID
    outbound = (stream_id & 1) == int(theirs.h2.config.client_side)
    highest = theirs.h2.highest_outbound_stream_id if outbound else theirs.h2.highest_inbound_stream_id
    match step[3]:
        case frames.HEADERS:
            return theirs.h2.config.client_side and stream_id % 2 == 0
        case frames.RST_STREAM:
            return stream_id > highest
        case frames.WINDOW_UPDATE:
            return step[9:10] >= b"\x80"
        case kind:
            return kind == frames.PUSH_PROMISE or kind > frames.CONTINUATION


def ends_too_early(step: bytes, found: Normal) -> bool:
    return bool(step[3] == frames.HEADERS and step[4] & frames.END_STREAM and found[-1][0] == "reset")


def is_first_part(step: bytes) -> bool:
    """Whether the step is one frame, and begins a header block without ending it."""
    alone = len(step) == frames.HEADER_BYTES + int.from_bytes(step[:3], "big")
    return alone and step[3] == frames.HEADERS and not step[4] & frames.END_HEADERS


def is_our_code(step: bytes, code: int, inside_block: bool) -> bool:
    """Whether this is the code by the standard where h2 has another one."""
    if inside_block:
        return code == ErrorCodes.PROTOCOL_ERROR
    return step[3] == frames.HEADERS and code == ErrorCodes.COMPRESSION_ERROR


def is_error_of_a_stream(step: bytes, code: int, found: Normal) -> bool:
    """Whether a frame for which h2 ends the connection may well end a stream alone, and did, with the same code."""
    kind, stream_id = step[3], int.from_bytes(step[5:9], "big") & frames.LARGEST_STREAM_ID
    if not found:  # the stream is closed already
        return kind == frames.WINDOW_UPDATE or (kind == frames.PRIORITY and len(step) != frames.HEADER_BYTES + 5)
    of_streams = (frames.HEADERS, frames.DATA, frames.WINDOW_UPDATE, frames.PRIORITY)
    return kind in of_streams and found == [("reset", stream_id, code, False)]


@pytest.mark.parametrize("client", [False, True])
@given(script=SCRIPT)
@settings(max_examples=400, deadline=None)
def test_the_same_frames_give_the_same_events_errors_and_windows(client: bool, script: list[Any]) -> None:
    theirs, ours = Theirs(client=client), Ours(client=client)
    start = (b"" if client else frames.PREFACE) + factory.settings() + factory.settings(ack=True)
    assert ours.receive(start) == theirs.receive(start)
    if client:
        for _ in range(2):
            theirs.open()
            ours.open()
    inside_block = False
    for step in script:
        theirs.forget_closed()
        if isinstance(step, tuple):
            if client and step[0] == "respond":
                continue
            theirs.act(*step)
            ours.act(*step)
        elif differs(theirs, step):
            continue
        else:
            expected = theirs.receive(step)
            found = ours.receive(step)
            if theirs.error is None:
                if found != expected:
                    assert ends_too_early(step, found)
                    return
            elif ours.error is None:
                assert is_error_of_a_stream(step, theirs.error, found)
                return
            elif ours.error != theirs.error:
                assert is_our_code(step, ours.error, inside_block)
                return
            inside_block = is_first_part(step)
        assert ours.error == theirs.error
        if theirs.error is not None:
            return
        assert ours.windows() == theirs.windows()


@pytest.mark.parametrize("client", [False, True])
@given(script=st.lists(FRAME, max_size=14), data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_splitting_gives_the_same(client: bool, script: list[bytes], data: st.DataObject) -> None:
    whole, split = Ours(client=client), Ours(client=client)
    for each in (whole, split):
        if client:
            each.open()
            each.open()
    stream = (b"" if client else frames.PREFACE) + factory.settings() + b"".join(script)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))
    expected = whole.receive(stream)
    found: Normal = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += split.receive(stream[start:end])
    assert joined(found) == expected
    assert split.error == whole.error
    assert split.output == whole.output
