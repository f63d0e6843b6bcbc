from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from h2.errors import ErrorCodes
from h2.events import RequestReceived, ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError, StreamClosedError
from hyperframe.frame import GoAwayFrame, SettingsFrame

from pog.http2 import frames
from pog.http2.config import ConnectionConfig
from pog.http2.connection import Connection
from pog.http2.events import ConnectionFailed, DataReceived, GoAwayReceived, ProbeAnswered, StreamFailed, WindowOpened
from pog.http2.scheduler import SendQueue
from pog.http2.windows import Budget
from tests.http2 import factory

if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1024


class End:
    """One side of a connection, with what it sent and saw."""

    def __init__(self, *, client: bool, budget: Budget | None = None, **config: Any) -> None:
        self.connection = Connection(
            ConnectionConfig(**config), budget or Budget(1 << 30), client=client, clock=lambda: self.now
        )
        self.machine = self.connection._machine
        self.now = 0.0
        self.connection.initiate()

    def output(self) -> bytes:
        self.connection.outbound.pull(1 << 30)
        return b"".join(self.connection.data_to_send())

    def receive(self, data: bytes) -> list[Any]:
        """Everything, in as many steps as it takes."""
        events: list[Any] = self.connection.receive_data(data, self.now)
        while self.connection.unfinished:
            events += self.connection.receive_data(b"", self.now)
        return events

    def queue(self, stream_id: int) -> SendQueue:
        return SendQueue(self.machine.streams[stream_id])


def server(**config: Any) -> End:
    """A server whose client has said hello."""
    end = End(client=False, **config)
    assert [type(event).__name__ for event in end.receive(frames.PREFACE + factory.settings())]
    end.output()
    return end


def exchange(client: End, server: End) -> tuple[list[Any], list[Any]]:
    """Passes bytes on until both are silent; what the client and the server saw."""
    seen: tuple[list[Any], list[Any]] = [], []
    while True:
        up, down = client.output(), server.output()
        if not up and not down:
            return seen
        seen[1].extend(server.receive(up) if up else [])
        seen[0].extend(client.receive(down) if down else [])


def pair(**config: Any) -> tuple[End, End]:
    client, server = End(client=True, **config), End(client=False, **config)
    exchange(client, server)
    return client, server


def of(kind: type, events: list[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def failure(events: list[Any]) -> int:
    """The error code that the connection failed with; it says so in its last event."""
    assert isinstance(events[-1], ConnectionFailed)
    return events[-1].error_code


# Calls


def test_a_call_from_end_to_end() -> None:
    client, server = pair()
    stream = client.connection.open_stream(factory.REQUEST)
    _, seen = exchange(client, server)
    assert [event.headers for event in of(RequestReceived, seen)] == [factory.REQUEST]

    up = SendQueue(stream)
    client.connection.outbound.enqueue(up, [b"hello ", memoryview(b"server")], 12)
    client.connection.outbound.end(up)
    _, seen = exchange(client, server)
    assert b"".join(event.data for event in of(DataReceived, seen)) == b"hello server"
    assert of(StreamEnded, seen)

    down = server.queue(1)
    server.connection.outbound.send_headers(down.machine, factory.RESPONSE)
    server.connection.outbound.enqueue(down, [b"hello client"], 12)
    server.connection.outbound.end(down, factory.TRAILERS)
    seen, _ = exchange(client, server)
    assert [event.headers for event in of(ResponseReceived, seen)] == [factory.RESPONSE]
    assert b"".join(event.data for event in of(DataReceived, seen)) == b"hello client"
    assert [event.headers for event in of(TrailersReceived, seen)] == [factory.TRAILERS]
    assert not client.machine.streams
    assert not server.machine.streams


def test_trailers_alone() -> None:
    client, server = pair()
    client.connection.open_stream(factory.REQUEST, end_stream=True)
    exchange(client, server)
    answer = [*factory.RESPONSE, *factory.TRAILERS]
    server.connection.outbound.send_headers(server.machine.streams[1], answer, end_stream=True)
    seen, _ = exchange(client, server)
    assert of(ResponseReceived, seen)[0].headers == answer
    assert of(StreamEnded, seen)


def test_an_informational_response_comes_before_the_other() -> None:
    client, server = pair()
    client.connection.open_stream(factory.REQUEST)
    exchange(client, server)
    stream = server.machine.streams[1]
    server.connection.outbound.send_headers(stream, [(":status", "103")])
    server.connection.outbound.send_headers(stream, factory.RESPONSE)
    seen, _ = exchange(client, server)
    assert [event.headers for event in of(ResponseReceived, seen)] == [factory.RESPONSE]


def test_headers_longer_than_a_frame() -> None:
    client, server = pair()
    fields = [*factory.REQUEST, *((f"x-{number}", f"{number}" * 2000) for number in range(10))]
    client.machine.max_outbound_frame_size = 1500
    client.connection.open_stream(fields)
    _, seen = exchange(client, server)
    assert of(RequestReceived, seen)[0].headers == fields


def test_orders_on_a_closed_stream() -> None:
    client, server = pair()
    stream = client.connection.open_stream(factory.REQUEST)
    client.connection.reset_stream(stream, ErrorCodes.CANCEL)
    client.connection.reset_stream(stream, ErrorCodes.CANCEL)
    assert factory.resets(client.output()) == [(1, ErrorCodes.CANCEL)]
    with pytest.raises(StreamClosedError):
        client.connection.outbound.send_headers(stream, factory.TRAILERS, end_stream=True)
    with pytest.raises(ValueError, match="illegal"):
        client.connection.open_stream([*factory.REQUEST, ("Bad", "name")])
    assert client.machine.highest_outbound_stream_id == 1


# Order and windows


def test_fifty_streams_at_random_deliver_every_byte_in_order() -> None:
    choose = random.Random(7)
    client, server = pair(stream_window=10 * KIB, stream_window_ceiling=40 * KIB, connection_window=64 * KIB)
    queues = {}
    for _ in range(50):
        stream = client.connection.open_stream(factory.REQUEST)
        queues[stream.stream_id] = SendQueue(stream)
    exchange(client, server)
    sent = dict.fromkeys(queues, b"")
    received = dict.fromkeys(queues, b"")
    unread = dict.fromkeys(queues, 0)
    wire = b""
    for step in range(6000):
        server.now = step / 1000
        stream_id = choose.choice([*queues])
        if step < 3000:
            content = choose.randbytes(choose.choice([1, 10, 1000, 5000]))
            sent[stream_id] += content
            client.connection.outbound.enqueue(queues[stream_id], [content], len(content))
        client.connection.outbound.pull(choose.choice([1, 20_000]))
        wire += b"".join(client.connection.data_to_send())
        piece = choose.choice([1, 100, 10_000, 1 << 20])
        for event in of(DataReceived, server.receive(wire[:piece])):
            received[event.stream_id] += bytes(event.data)
            unread[event.stream_id] += len(event.data)
        wire = wire[piece:]
        stream_id = choose.choice([*queues])
        server.connection.consumed(server.machine.streams[stream_id], unread[stream_id])
        unread[stream_id] = 0
        for event in of(WindowOpened, client.receive(server.output())):
            client.connection.outbound.window_opened(queues[event.stream_id])
    while any(queue.size for queue in queues.values()) or wire:
        wire += client.output()
        for event in of(DataReceived, server.receive(wire)):
            received[event.stream_id] += bytes(event.data)
            server.connection.consumed(server.machine.streams[event.stream_id], len(event.data))
        wire = b""
        for stream_id, size in unread.items():
            server.connection.consumed(server.machine.streams[stream_id], size)
        unread = dict.fromkeys(queues, 0)
        for event in of(WindowOpened, client.receive(server.output())):
            client.connection.outbound.window_opened(queues[event.stream_id])
    assert received == sent


def test_a_stream_that_is_not_read_stops_only_itself() -> None:
    client, server = pair(stream_window=64 * KIB, stream_window_ceiling=0, connection_window=256 * KIB)
    silent, busy = (SendQueue(client.connection.open_stream(factory.REQUEST)) for _ in range(2))
    client.connection.outbound.enqueue(silent, [bytes(1 << 20)], 1 << 20)
    client.connection.outbound.enqueue(busy, [bytes(4 << 20)], 4 << 20)
    arrived = dict.fromkeys((1, 3), 0)
    for _ in range(200):
        for event in of(DataReceived, server.receive(client.output())):
            arrived[event.stream_id] += len(event.data)
            if event.stream_id == 3:
                server.connection.consumed(server.machine.streams[3], len(event.data))
        client.receive(server.output())
        client.connection.outbound.window_opened(busy)
    assert arrived == {1: 64 * KIB, 3: 4 << 20}


def test_the_peers_smaller_initial_window_holds_for_open_streams() -> None:
    """RFC 9113 section 6.9.2: the window may become negative, and opens by what is given back."""
    client, server = pair()
    stream = client.connection.open_stream(factory.REQUEST)
    queue = SendQueue(stream)
    before = stream.outbound_flow_control_window
    client.connection.outbound.enqueue(queue, [bytes(before)], before)
    client.output()
    assert stream.outbound_flow_control_window == 0
    client.receive(factory.settings({frames.SETTINGS: 1000}))
    assert stream.outbound_flow_control_window == 1000 - before
    client.connection.outbound.enqueue(queue, [b"x" * 50], 50)
    client.receive(factory.window_update(1, before - 1000))
    client.connection.outbound.window_opened(queue)
    assert not of(DataReceived, server.receive(b""))
    assert stream.outbound_flow_control_window == 0
    client.receive(factory.window_update(1, 20))
    client.connection.outbound.window_opened(queue)
    client.output()
    assert queue.size == 30


def test_what_is_short_goes_at_once_but_never_before_what_waits() -> None:
    client, server = pair()
    connection = client.connection
    first, second = (SendQueue(connection.open_stream(factory.REQUEST)) for _ in range(2))
    window, shared = first.machine.outbound_flow_control_window, client.machine.outbound_flow_control_window
    assert connection.outbound.send_short(first, [b"ab", memoryview(b"cd")], 4)
    assert first.machine.outbound_flow_control_window == window - 4
    assert client.machine.outbound_flow_control_window == shared - 4
    assert not connection.outbound.send_short(first, [bytes(4 * KIB)], 4 * KIB)
    connection.outbound.enqueue(first, [b"ef"], 2)
    assert not connection.outbound.send_short(first, [b"gh"], 2), "its own stream has something queued"
    assert not connection.outbound.send_short(second, [b"gh"], 2), "it is another stream's turn"
    connection.outbound.enqueue(first, [b"gh"], 2)
    pieces = of(DataReceived, exchange(client, server)[1])
    assert b"".join(piece.data for piece in pieces) == b"abcdefgh"


@pytest.mark.parametrize("which", ["stream", "connection"])
def test_what_is_short_waits_for_its_window(which: str) -> None:
    client, _ = pair()
    queue = SendQueue(client.connection.open_stream(factory.REQUEST))
    owner = queue.machine if which == "stream" else client.machine
    owner.outbound_flow_control_window = 3
    assert not client.connection.outbound.send_short(queue, [b"four"], 4)
    assert owner.outbound_flow_control_window == 3
    assert client.connection.outbound.send_short(queue, [b"all"], 3)
    assert owner.outbound_flow_control_window == 0


def test_an_end_needs_no_window() -> None:
    client, server = pair()
    stream = client.connection.open_stream(factory.REQUEST)
    client.receive(factory.settings({frames.SETTINGS: 0}))
    client.connection.outbound.end(SendQueue(stream))
    _, seen = exchange(client, server)
    assert of(StreamEnded, seen)


def test_frames_fit_the_peers_limit() -> None:
    client, server = pair(max_frame_size=16384)
    queue = SendQueue(client.connection.open_stream(factory.REQUEST))
    client.connection.outbound.enqueue(queue, [bytes(100_000)], 100_000)
    sizes = [each.body_len for each in factory.parse(client.output()) if each.type == frames.DATA]
    assert max(sizes) == 16384


def test_padding_goes_back_at_once() -> None:
    end = server(stream_window=1000, stream_window_ceiling=0)
    end.receive(factory.headers(1))
    for _ in range(20):
        end.receive(factory.data(1, b"", padding=255))
    assert 255 * 20 - 250 <= factory.increments(end.output(), 1) <= 256 * 20


def test_without_memory_credit_waits_for_the_readers() -> None:
    budget = Budget(1000)
    end = End(client=False, budget=budget, connection_window=100_000, stream_window=100_000)
    end.receive(frames.PREFACE + factory.settings() + factory.headers(1))
    end.output()
    budget.used = 2000
    end.receive(b"".join(factory.data(1, bytes(10_000)) for _ in range(6)))
    assert factory.increments(end.output(), 0) == 0
    end.connection.return_credit()
    assert factory.increments(end.output(), 0) == 0
    budget.used = 0
    end.connection.return_credit()
    assert factory.increments(end.output(), 0) == 60_000


def test_without_memory_a_reader_gets_no_wider_window() -> None:
    client, server = pair()
    budget = server.connection.budget = Budget(1000)
    stream = client.connection.open_stream(factory.REQUEST)
    exchange(client, server)
    budget.used = 600
    server.connection.widen(server.machine.streams[1])
    exchange(client, server)
    assert stream.outbound_flow_control_window == 64 * KIB
    budget.used = 0
    server.connection.widen(server.machine.streams[1])
    exchange(client, server)
    assert stream.outbound_flow_control_window == 64 * KIB  # it waits for company
    server.connection.outbound.send_headers(server.machine.streams[1], factory.RESPONSE)
    exchange(client, server)
    assert stream.outbound_flow_control_window == 1024 * KIB


# Late and stray frames


def test_late_data_on_a_stream_that_we_have_reset_is_credited_and_dropped() -> None:
    end = server(connection_window=65535)
    end.receive(factory.headers(1))
    end.connection.reset_stream(end.machine.streams[1], ErrorCodes.CANCEL)
    end.output()
    for _ in range(20):
        assert end.receive(factory.data(1, bytes(8000))) == []
    output = end.output()
    assert factory.increments(output, 0) > 100_000
    assert factory.resets(output) == []
    assert not end.connection.failed


def test_late_headers_on_a_stream_that_we_have_reset_keep_the_table_in_step() -> None:
    client, server = pair()
    client.connection.open_stream(factory.REQUEST)
    exchange(client, server)
    client.connection.reset_stream(client.machine.streams[1], ErrorCodes.CANCEL)
    answer = [*factory.RESPONSE, ("x-new", "entry")]
    server.connection.outbound.send_headers(server.machine.streams[1], answer)
    assert client.receive(server.output()) == []
    server.receive(client.output())
    client.connection.open_stream(factory.REQUEST)
    exchange(client, server)
    server.connection.outbound.send_headers(server.machine.streams[3], answer)
    assert of(ResponseReceived, client.receive(server.output()))[0].headers == answer


def test_many_streams_later_a_late_frame_is_still_harmless() -> None:
    end = server()
    for stream_id in range(1, 8001, 2):
        end.receive(factory.headers(stream_id))
        end.connection.reset_stream(end.machine.streams[stream_id], ErrorCodes.CANCEL)
    end.output()
    assert end.receive(factory.headers(1, factory.TRAILERS, end_stream=True) + factory.data(3, b"late")) == []
    assert len(end.machine._closed_streams) <= 2048


def test_data_on_a_stream_that_its_sender_has_ended_resets_it() -> None:
    end = server()
    end.receive(factory.headers(1) + factory.data(1, b"x", end_stream=True))
    events = end.receive(factory.data(1, b"more"))
    assert [(type(event), event.stream_id) for event in events] == [(StreamFailed, 1)]
    assert factory.resets(end.output()) == [(1, ErrorCodes.STREAM_CLOSED)]
    end.receive(factory.data(1, b"and more"))
    assert not end.connection.failed


# GOAWAY


def test_after_a_goaway_live_streams_go_on_and_unseen_ones_are_refused() -> None:
    client, server = pair()
    for _ in range(3):
        client.connection.open_stream(factory.REQUEST)
    exchange(client, server)
    client.connection.open_stream(factory.REQUEST)
    server.connection.go_away(ErrorCodes.NO_ERROR, debug=b"bye")
    seen, _ = exchange(client, server)
    assert of(GoAwayReceived, seen) == [GoAwayReceived(5, 0, b"bye")]
    assert [(event.stream_id, event.error_code) for event in of(StreamReset, seen)] == [(7, ErrorCodes.REFUSED_STREAM)]
    for content in (b"one", b"two"):
        server_queue = server.queue(3)
        if content == b"one":
            server.connection.outbound.send_headers(server_queue.machine, factory.RESPONSE)
        server.connection.outbound.enqueue(server_queue, [content], 3)
        seen, _ = exchange(client, server)
        assert [event.data for event in of(DataReceived, seen)] == [content]
    queue = client.queue(1)
    client.connection.outbound.enqueue(queue, [b"up"], 2)
    _, seen = exchange(client, server)
    assert [event.data for event in of(DataReceived, seen)] == [b"up"]


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (factory.frame(frames.GOAWAY, 0, 1, bytes(8)), ErrorCodes.PROTOCOL_ERROR),
        (factory.frame(frames.GOAWAY, 0, 0, bytes(7)), ErrorCodes.FRAME_SIZE_ERROR),
        (factory.rst_stream(99), ErrorCodes.PROTOCOL_ERROR),
        (factory.frame(frames.CONTINUATION, 4, 1, b""), ErrorCodes.PROTOCOL_ERROR),
        (factory.frame(frames.PUSH_PROMISE, 4, 1, bytes(4)), ErrorCodes.PROTOCOL_ERROR),
        (factory.frame(frames.WINDOW_UPDATE, 0, 0, b"\x80\0\0\0"), ErrorCodes.PROTOCOL_ERROR),
    ],
)
def test_frames_where_we_differ_from_h2(frame: bytes, code: int) -> None:
    end = server()
    assert failure(end.receive(frame)) == code
    goaway = factory.parse(end.output())[-1]
    assert isinstance(goaway, GoAwayFrame)
    assert (goaway.error_code, goaway.last_stream_id) == (code, 0)
    assert end.receive(factory.headers(1)) == []


def test_the_reserved_bit_of_a_window_update_is_ignored() -> None:
    end = server()
    before = end.machine.outbound_flow_control_window
    end.receive(factory.frame(frames.WINDOW_UPDATE, 0, 0, b"\x80\0\0\x05"))
    assert end.machine.outbound_flow_control_window == before + 5


def test_a_server_may_not_open_streams() -> None:
    client, _ = pair()
    assert failure(client.receive(factory.headers(2, factory.RESPONSE))) == ErrorCodes.PROTOCOL_ERROR


def test_what_came_before_an_error_is_reported() -> None:
    end = server()
    events = end.receive(factory.headers(1) + factory.data(1, b"good") + factory.data(0, b"bad"))
    assert [type(event) for event in events] == [RequestReceived, DataReceived, ConnectionFailed]


@pytest.mark.parametrize("sent", [factory.rst_stream(5), factory.data(5, b"?"), factory.window_update(5, 1)])
def test_a_frame_on_a_stream_that_never_was_is_said_to_be_so(sent: bytes) -> None:
    failed = server().receive(sent)[-1]
    assert isinstance(failed, ConnectionFailed)
    assert failed.reason == "a frame on stream 5, which was never opened"


def test_a_wrong_preface_is_refused() -> None:
    end = End(client=False)
    assert failure(end.receive(b"GET / HTTP/1.1\r\n\r\n")) == ErrorCodes.PROTOCOL_ERROR


# Limits


def test_streams_over_the_limit_are_refused_alone() -> None:
    end = server(max_concurrent_streams=2)
    events = end.receive(b"".join(factory.headers(stream_id) for stream_id in (1, 3, 5, 7)))
    assert [event.stream_id for event in of(RequestReceived, events)] == [1, 3]
    assert factory.resets(end.output()) == [(5, ErrorCodes.REFUSED_STREAM), (7, ErrorCodes.REFUSED_STREAM)]
    assert end.receive(factory.data(5, b"late") + factory.headers(5, factory.TRAILERS, end_stream=True)) == []
    end.receive(factory.rst_stream(1))
    assert of(RequestReceived, end.receive(factory.headers(9)))


def test_capacity_follows_the_peers_limit() -> None:
    client = End(client=True)
    client.receive(factory.settings({3: 2}))
    assert client.connection.capacity == 2
    stream = client.connection.open_stream(factory.REQUEST)
    client.connection.open_stream(factory.REQUEST)
    assert client.connection.capacity == 0
    client.connection.reset_stream(stream, ErrorCodes.CANCEL)
    assert client.connection.capacity == 1
    client.receive(factory.settings({3: 0}))
    assert client.connection.capacity == 0


def test_stream_identifiers_run_out() -> None:
    client, _ = pair()
    client.machine.highest_outbound_stream_id = 2**31 - 3
    assert client.connection.capacity > 0
    client.connection.open_stream(factory.REQUEST)
    assert client.connection.capacity == 0


PROVOCATIONS = {
    "reset": lambda stream_id: factory.rst_stream(stream_id),
    "window": lambda stream_id: factory.window_update(stream_id, 2**31 - 1),
    "window by 0": lambda stream_id: factory.window_update(stream_id, 0),
    "data over the window": lambda stream_id: factory.data(stream_id, bytes(65_537)),
    "data behind the end": lambda stream_id: (
        factory.data(stream_id, b"", end_stream=True) + factory.data(stream_id, b"x")
    ),
    "headers behind the end": lambda stream_id: (
        factory.data(stream_id, b"", end_stream=True) + factory.headers(stream_id, factory.TRAILERS, end_stream=True)
    ),
    "bad trailers": lambda stream_id: factory.headers(stream_id, factory.REQUEST, end_stream=True),
}


@pytest.mark.parametrize("provoke", PROVOCATIONS.values(), ids=PROVOCATIONS.keys())
def test_after_many_resets_new_streams_are_refused_and_the_others_go_on(provoke: Callable[[int], bytes]) -> None:
    """CVE-2023-44487, and CVE-2025-8671 «MadeYouReset»: a front's other users have their tunnels on this connection."""
    end = server()
    end.receive(factory.headers(1))
    refused = 0
    for stream_id in range(3, 6003, 2):
        end.receive(factory.headers(stream_id) + provoke(stream_id))
        if (stream_id, ErrorCodes.REFUSED_STREAM) in factory.resets(end.output()):
            refused = refused or stream_id
        else:
            assert not refused
    assert 1000 < refused // 2 < 1100
    assert of(DataReceived, end.receive(factory.data(1, b"tunnel")))
    end.now = 1.0
    assert of(RequestReceived, end.receive(factory.headers(6003)))
    assert not end.connection.failed


def test_a_peer_that_goes_on_regardless_for_seconds_loses_the_connection() -> None:
    end = server()
    for stream_id in range(1, 40_000, 2):
        end.now += 0.0005
        events = end.receive(factory.headers(stream_id) + factory.rst_stream(stream_id))
        end.output()
        if end.connection.failed:
            break
    assert failure(events) == ErrorCodes.ENHANCE_YOUR_CALM
    assert 5 < end.now < 7


def test_malformed_requests_are_no_abuse_as_long_as_they_cost_little() -> None:
    end = server()
    for stream_id in range(1, 20_000, 4):
        assert of(RequestReceived, end.receive(factory.headers(stream_id)))
        end.connection.reset_stream(end.machine.streams[stream_id], ErrorCodes.CANCEL)
        end.receive(factory.headers(stream_id + 2, [*factory.REQUEST, ("connection", "close")]))
        assert (stream_id + 2, ErrorCodes.PROTOCOL_ERROR) in factory.resets(end.output())


def test_header_fields_are_paid_for() -> None:
    """A hundred fields a request, no two requests the same: refused after a while, and served again later."""
    end = server()

    def request(stream_id: int) -> bytes:
        return factory.headers(stream_id, [*factory.REQUEST, *((f"x-{stream_id}-{n}", "y") for n in range(94))])

    end.receive(factory.headers(1))
    refused = []
    for stream_id in range(3, 2403, 2):
        end.receive(request(stream_id))
        if stream_id in end.machine.streams:
            end.connection.reset_stream(end.machine.streams[stream_id], ErrorCodes.CANCEL)
        else:
            refused.append(stream_id)
        end.output()
    assert 1500 < refused[0] < 1700
    assert len(refused) == (2404 - refused[0]) // 2
    assert of(DataReceived, end.receive(factory.data(1, b"tunnel")))
    end.now = 1.0
    assert of(RequestReceived, end.receive(request(2405)))


def test_one_call_takes_in_a_bounded_amount_of_work() -> None:
    """Neighbours on other connections have their turn in between."""
    end = server()
    many = b"".join(factory.headers(stream_id) for stream_id in range(1, 1001, 2))
    per_call = [len(of(RequestReceived, end.connection.receive_data(many, 0.0)))]
    while end.connection.unfinished:
        per_call.append(len(of(RequestReceived, end.connection.receive_data(b"", 0.0))))
    assert sum(per_call) == 500
    assert max(per_call) <= 25


def test_what_is_left_for_the_next_call_comes_before_what_is_received_then() -> None:
    end = server()
    end.receive(factory.headers(1))
    content = [b"%d," % number for number in range(9000)]
    wire = b"".join(factory.data(1, each) for each in content)
    received, most = b"", 0
    for start in range(0, len(wire), 30_000):
        events = of(DataReceived, end.connection.receive_data(wire[start : start + 30_000], 0.0))
        received += b"".join(bytes(event.data) for event in events)
        most = max(most, len(events))
    assert end.connection.unfinished
    received += b"".join(bytes(event.data) for event in of(DataReceived, end.receive(b"")))
    assert received == b"".join(content)
    assert 900 < most <= 1001


def test_resets_of_calls_that_were_answered_are_free() -> None:
    end = server()
    for stream_id in range(1, 10_000, 2):
        end.receive(factory.headers(stream_id))
        end.connection.outbound.send_headers(end.machine.streams[stream_id], factory.RESPONSE)
        end.receive(factory.rst_stream(stream_id))
    assert not end.connection.failed


@pytest.mark.parametrize(
    "frame",
    [
        factory.frame(frames.PING, 0, 0, bytes(8)),
        factory.settings({3: 5}),
        factory.settings(ack=True),
        factory.frame(frames.PRIORITY, 0, 1, bytes(5)),
        factory.frame(99, 0, 0, b"unknown"),
        factory.data(1, b""),
        factory.frame(frames.GOAWAY, 0, 0, bytes(8)),
        factory.rst_stream(3),
    ],
)
def test_floods_of_frames_that_carry_nothing_end_the_connection(frame: bytes) -> None:
    end = server()
    end.receive(factory.headers(1) + factory.headers(3) + factory.rst_stream(3))
    assert failure(end.receive(frame * 5000)) == ErrorCodes.ENHANCE_YOUR_CALM


def test_a_little_content_does_not_pay_for_a_flood() -> None:
    end = server()
    end.receive(factory.headers(1))
    flood = factory.frame(frames.PRIORITY, 0, 1, bytes(5)) * 100 + factory.data(1, b"x")
    assert failure(end.receive(flood * 100)) == ErrorCodes.ENHANCE_YOUR_CALM


def test_content_does_not_pay_for_changes_of_settings() -> None:
    end = server()
    end.receive(factory.headers(1))
    assert (
        failure(end.receive((factory.settings({4: 70_000}) + factory.data(1, b"x")) * 300))
        == ErrorCodes.ENHANCE_YOUR_CALM
    )


def test_a_ping_per_round_trip_while_data_flows_is_no_flood() -> None:
    end = server()
    end.receive(factory.headers(1))
    for _ in range(5000):
        end.receive(factory.data(1, b"x") + factory.frame(frames.PING, 0, 0, bytes(8)))
        end.connection.consumed(end.machine.streams[1], 1)
    assert not end.connection.failed


@pytest.mark.parametrize("parts", [17, 1000])
def test_a_header_block_without_end(parts: int) -> None:
    end = server()
    first = factory.frame(frames.HEADERS, 0, 1, b"")
    more = factory.frame(frames.CONTINUATION, 0, 1, b"")
    assert failure(end.receive(first + more * parts)) == ErrorCodes.ENHANCE_YOUR_CALM


def test_a_header_block_over_the_limit() -> None:
    end = server(max_header_list_size=10_000)
    first = factory.frame(frames.HEADERS, 0, 1, bytes(6000))
    more = factory.frame(frames.CONTINUATION, 0, 1, bytes(6000))
    assert failure(end.receive(first + more)) == ErrorCodes.ENHANCE_YOUR_CALM
    end = server(max_header_list_size=10_000)
    assert failure(end.receive(frames.header(10_001, frames.HEADERS, 4, 1))) == ErrorCodes.ENHANCE_YOUR_CALM


# Probes and settings


def test_a_probe_is_a_ping_only_after_data() -> None:
    client, server = pair()
    client.connection.open_stream(factory.REQUEST)
    exchange(client, server)
    server.connection.outbound.send_headers(server.machine.streams[1], factory.RESPONSE)
    kinds = []
    for step in range(4):
        client.connection.probe(step.to_bytes(8, "big"))
        output = client.output()
        kinds.append(factory.parse(output)[0].type)
        server.receive(output)
        seen, _ = exchange(client, server)
        answers = [getattr(event, "token", None) or event.ping_data for event in seen if hasattr(event, "ping_data")]
        answers += [event.token for event in of(ProbeAnswered, seen)]
        assert answers == [step.to_bytes(8, "big")]
        if step == 1:
            server.connection.outbound.enqueue(server.queue(1), [b"data"], 4)
            exchange(client, server)
    assert kinds == [frames.PING, frames.SETTINGS, frames.PING, frames.SETTINGS]


def test_the_acknowledgement_of_our_settings_is_no_answer_to_a_probe() -> None:
    end = server()
    end.connection.probe(b"probe..1")
    end.connection.probe(b"probe..2")
    assert [type(each) for each in factory.parse(end.output())][-1] is SettingsFrame
    assert of(ProbeAnswered, end.receive(factory.settings(ack=True))) == []
    assert end.receive(factory.settings(ack=True)) == [ProbeAnswered(b"probe..2")]


def test_settings_say_what_we_take() -> None:
    for client in (True, False):
        end = End(client=client, max_concurrent_streams=7)
        first = factory.parse(b"".join(end.connection.data_to_send()))[0]
        assert isinstance(first, SettingsFrame)
        assert first.settings[SettingsFrame.ENABLE_PUSH] == 0
        assert first.settings[SettingsFrame.INITIAL_WINDOW_SIZE] == 64 * KIB
        assert first.settings.get(SettingsFrame.MAX_CONCURRENT_STREAMS) == (None if client else 7)


def test_an_upgraded_connection_begins_with_stream_one() -> None:
    end = End.__new__(End)
    end.connection = Connection(ConnectionConfig(), Budget(1 << 30), client=False, clock=float)
    end.machine, end.now = end.connection._machine, 0.0
    stream = end.connection.initiate_upgrade(b"AAQAAP__")
    assert stream.outbound_flow_control_window == 65535
    end.connection.outbound.send_headers(stream, factory.RESPONSE, end_stream=True)
    events = end.receive(frames.PREFACE + factory.settings() + factory.headers(3))
    assert [event.stream_id for event in of(RequestReceived, events)] == [3]


@pytest.mark.parametrize("header", [b"AAQAA", b"AAQAAP", b"AAQAAP__AA=="])
def test_a_malformed_upgrade(header: bytes) -> None:
    connection = Connection(ConnectionConfig(), Budget(1 << 30), client=False, clock=float)
    with pytest.raises(ProtocolError):
        connection.initiate_upgrade(header)
