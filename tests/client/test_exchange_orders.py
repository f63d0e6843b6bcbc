"""Plain HTTP on a user's connection, whatever happens at its ends in whatever order.

The user is an h11 client that sends requests ahead, each destination an h11 server; between them is all of the client
but its sockets and its exit. Each answer has to belong to its request, in order, or the connection has to break.
"""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import h11
from hypothesis import given, settings
from hypothesis import strategies as st

from pog.auth.check import Authenticator
from pog.client.connection import UserConnection
from pog.client.connections import Connections
from pog.client.pages import Pages
from pog.errors import Failure, FailureKind
from pog.observe.accesslog import AccessLog
from pog.observe.metrics import Metrics
from pog.observe.tunnels import TunnelObserver
from pog.tunnel.live import Tunnels
from pog.tunnel.request import Tunnel
from tests.client.support import SETTINGS, FakeExit

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.tunnel.request import TunnelRequest

HIGH, LOW = 2000, 500
CONTENT = 9000
PIECE = 3000
UPLOAD = 9000
# What an end may hold before it says so, and the piece that went beyond with a head before it. What was sent before its
# tunnel was open goes up at once: a request with all its content.
USER_BOUND = HIGH + PIECE + 500
TUNNEL_BOUND = HIGH + PIECE + 500 + UPLOAD


class Wire(asyncio.Transport):
    """One end in memory: what was written is `out`, of which its reader has `taken` this number of bytes."""

    def __init__(self, later: list[Callable[[], None]]) -> None:
        super().__init__()
        self.later = later
        self.protocol = asyncio.Protocol()
        self.out = bytearray()
        self.taken = 0
        self.high, self.low = HIGH, LOW
        self.full = False
        self.reading = True
        self.closing = self.lost = self.eof_written = False

    def arrive(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def take(self, size: int) -> None:
        self.taken = min(self.taken + size, len(self.out))
        if self.full and not self.lost and self.get_write_buffer_size() <= self.low:
            self.full = False
            self.protocol.resume_writing()

    def lose(self, error: Exception | None = None) -> None:
        self.closing = True
        if not self.lost:
            self.lost = True
            self.protocol.connection_lost(error)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.eof_written
        if self.closing:
            return
        self.out += data
        if self.get_write_buffer_size() > self.high and not self.full:
            self.full = True
            self.protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof_written = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """A user that is answered for the last time is told when everything has gone."""
        self.high, self.low = (HIGH, LOW) if high is None else (high, high // 4 if low is None else low)
        if self.get_write_buffer_size() > self.high and not self.full:
            self.full = True
            self.protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return len(self.out) - self.taken

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self.later.append(self.lose)

    abort = close


class Origin:
    """A destination behind one tunnel."""

    def __init__(self, wire: Wire, seen: list[str]) -> None:
        self.wire = wire
        self.seen = seen
        self.server = h11.Connection(h11.SERVER)
        self.read = 0
        self.asked: h11.Request | None = None
        self.down = bytearray()
        self.done = False
        # Whether an answer was cut, or something was sent that nobody asked for.
        self.odd = False

    def look(self) -> None:
        """Reads what has come up: whole requests, one at a time."""
        if self.read < len(self.wire.out):  # to h11 no bytes are the end
            self.server.receive_data(bytes(self.wire.out[self.read :]))
            self.read = len(self.wire.out)
        while self.asked is None and not self.done:
            event = self.server.next_event()
            if isinstance(event, h11.Request):
                self.pending = event
            elif isinstance(event, h11.Data):
                assert event.data.strip(b"c") == b"", "the content of this request and no other"
            elif isinstance(event, h11.EndOfMessage):
                self.asked = self.pending
                self.seen.append(self.asked.target.decode())
            else:
                assert event in (h11.NEED_DATA, h11.PAUSED), event
                break

    def answer(self, framing: str) -> None:
        assert self.asked is not None
        content = self.asked.target + b" " * CONTENT
        head = self.asked.method == b"HEAD"
        if framing == "end":
            self.down += b"HTTP/1.0 200 OK\r\n\r\n" + (b"" if head else content)
            self.done = True
            return
        fields = [("Content-Length", str(len(content)))] if framing == "length" else [("Transfer-Encoding", "chunked")]
        self.down += self.server.send(h11.Response(status_code=200, headers=fields)) or b""
        if not head:
            self.down += self.server.send(h11.Data(data=content)) or b""
        self.down += self.server.send(h11.EndOfMessage()) or b""
        self.asked = None
        self.server.start_next_cycle()


class Asked:
    """A tunnel that the client wants."""

    def __init__(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> None:
        self.request = request
        self.done = done
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class Walk:
    """One user's connection, from its first byte to its end, and the events at its ends."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.loop = asyncio.new_event_loop()
        self.later: list[Callable[[], None]] = []
        self.asked: list[Asked] = []
        self.origins: list[Origin] = []
        self.seen: list[str] = []
        self.sent: list[tuple[str, str]] = []
        self.outbox = bytearray()
        # Whether anything happened that may cost an answer.
        self.disturbed = self.ending = self.user_ended = False
        self.user = Wire(self.later)
        self.problems: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self.problems.append(context))
        self.do(self.connect)

    def connect(self) -> None:
        chosen = replace(SETTINGS, half_close_timeout=0.0)
        self.tunnels = Tunnels()
        metrics = Metrics("client", chosen, self.tunnels)
        self.authenticator = Authenticator((), "CLIENT_AUTH_", metrics)
        observer = TunnelObserver("client", self.tunnels, metrics, AccessLog(True, io.StringIO(), role="client"))
        pages = Pages(metrics, self.tunnels, None, FakeExit())
        self.shared = Connections(chosen, self, pages, self.authenticator, observer)
        self.protocol = UserConnection(self.shared)
        self.user.protocol = self.protocol
        self.protocol.connection_made(self.user)

    def open(self, request: TunnelRequest, done: Callable[[Tunnel | Failure], None]) -> Asked:
        """For the client: this is its exit."""
        self.asked.append(Asked(request, done))
        return self.asked[-1]

    def do(self, work: Callable[..., object], *arguments: Any) -> None:
        async def run() -> None:
            work(*arguments)

        self.loop.run_until_complete(run())
        for origin in self.origins:
            origin.look()

    def size(self) -> int:
        return PIECE if self.ending else self.random.choice((1, 20, 500, PIECE))

    # What happens

    def request(self) -> None:
        """The user has one more request to send."""
        method = self.random.choice(("GET", "GET", "HEAD", "POST", "PUT"))
        path, size = f"/{len(self.sent)}", self.random.choice((0, 100, UPLOAD))
        length = f"Content-Length: {size}\r\n" if method in ("POST", "PUT") else ""
        host = self.random.choice("aab")
        head = f"{method} http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n"
        self.outbox += head.encode() + (b"c" * size if length else b"")
        self.sent.append((method, path))

    def user_sends(self) -> None:
        if self.user.reading and not self.user.closing and self.outbox and not self.user_ended:
            size = self.size()
            data = bytes(self.outbox[:size])
            del self.outbox[:size]
            self.do(self.user.arrive, data)

    def user_takes(self) -> None:
        self.do(self.user.take, self.size())

    def exit_opens(self) -> None:
        if self.asked and not (asked := self.asked.pop(0)).cancelled:
            self.origins.append(Origin(Wire(self.later), self.seen))
            self.do(asked.done, Tunnel(self.origins[-1].wire, "west"))

    def exit_refuses(self) -> None:
        if self.asked and not (asked := self.asked.pop(0)).cancelled:
            self.disturbed = True
            self.do(asked.done, Failure(FailureKind.DNS, "no address"))

    def origin_answers(self) -> None:
        for origin in self.origins:
            if origin.asked is not None and not origin.done:
                origin.answer(self.random.choice(("length", "length", "chunked", "end")))

    def tunnel_delivers(self) -> None:
        for origin in self.origins:
            if not origin.wire.reading or origin.wire.closing:
                continue
            if origin.down:
                size = self.size()
                data = bytes(origin.down[:size])
                del origin.down[:size]
                self.do(origin.wire.arrive, data)
            elif origin.done:
                self.do(origin.wire.protocol.eof_received)

    def tunnel_takes(self) -> None:
        for origin in self.origins:
            self.do(origin.wire.take, self.size())

    def tunnel_ends(self) -> None:
        for origin in self.origins:
            if origin.wire.reading and not origin.wire.closing and self.random.random() < 0.5:
                self.disturbed = origin.done = True
                origin.down.clear()
                if self.random.random() < 0.5:
                    self.do(origin.wire.protocol.eof_received)
                else:
                    self.do(origin.wire.lose, ConnectionResetError("cut"))

    def tunnel_says_what_nobody_asked_for(self) -> None:
        for origin in self.origins:
            idle = origin.asked is None and not origin.down and origin.server.their_state is h11.IDLE
            if idle and origin.wire.reading and not origin.wire.closing and not origin.wire.get_write_buffer_size():
                self.disturbed = True
                self.do(origin.wire.arrive, b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison")
                self.turn()
                assert origin.wire.closing, "nobody knows what it would say next"

    def user_leaves(self) -> None:
        if len(self.sent) < 5 or self.user.closing or self.user_ended:
            return
        self.disturbed = True
        if self.random.random() < 0.5:
            self.do(self.user.lose, None)
        elif self.user.reading:
            kept: list[bool] = []
            self.do(lambda: kept.append(bool(self.user.protocol.eof_received())))
            self.user_ended = True
            if not kept[0]:
                self.do(self.user.close)

    def turn(self) -> None:
        """A pass of the event loop."""
        due, self.later[:] = [*self.later], []
        for action in due:
            self.do(action)
        self.loop.run_until_complete(asyncio.sleep(0))

    # What has to hold

    def check(self) -> None:
        assert not self.problems, self.problems
        assert self.user.get_write_buffer_size() <= USER_BOUND
        assert all(origin.wire.get_write_buffer_size() <= TUNNEL_BOUND for origin in self.origins)
        for method, path in self.sent:
            assert self.seen.count(path) <= (1 if method == "POST" else 2)

    def check_answers(self) -> int:
        """Each answer belongs to its request; gives how many came whole."""
        client = h11.Connection(h11.CLIENT)
        if self.user.out:
            client.receive_data(bytes(self.user.out))
        for number, (method, path) in enumerate(self.sent):
            client.send(h11.Request(method=method, target=path, headers=[("Host", "h")]))
            client.send(h11.EndOfMessage())
            event = client.next_event()
            if event is h11.NEED_DATA:
                return number
            assert isinstance(event, h11.Response), event
            assert event.status_code in ((200, 502) if self.disturbed else (200,))
            content = b""
            while isinstance(part := client.next_event(), h11.Data):
                content += part.data
            whole = isinstance(part, h11.EndOfMessage)
            if event.status_code == 200 and method != "HEAD":
                expected = path.encode() + b" " * CONTENT
                assert content == expected if whole else expected.startswith(content)
            if not whole or client.their_state is not h11.DONE:
                return number + whole
            client.start_next_cycle()
        assert client.trailing_data[0] == b""
        return len(self.sent)

    def finish(self) -> None:
        """Everybody goes on to the end: without a disturbance each request has its answer. Then the user leaves."""
        self.ending = True
        for _ in range(20 + 12 * len(self.sent)):
            for event in (self.user_sends, self.user_takes, self.exit_opens, self.tunnel_takes):
                event()
            for origin in self.origins:
                if origin.asked is not None and not origin.done:
                    origin.answer("length")
            self.tunnel_delivers()
            self.turn()
        answered = self.check_answers()
        if not self.disturbed and not any(origin.done for origin in self.origins):
            assert answered == len(self.sent)
            assert self.seen == [path for _, path in self.sent]
        self.do(self.user.lose, None)
        for _ in range(5):
            self.turn()
        assert all(origin.wire.closing for origin in self.origins)
        assert len(self.tunnels) == self.tunnels.opening == 0
        assert not self.shared._connections

    def close(self) -> None:
        self.authenticator.close()
        self.loop.close()


# How often each happens, against the others.
EVENTS = {
    Walk.request: 4,
    Walk.user_sends: 12,
    Walk.user_takes: 8,
    Walk.exit_opens: 6,
    Walk.exit_refuses: 0.3,
    Walk.origin_answers: 5,
    Walk.tunnel_delivers: 12,
    Walk.tunnel_takes: 8,
    Walk.turn: 10,
    Walk.tunnel_ends: 0.5,
    Walk.tunnel_says_what_nobody_asked_for: 0.5,
    Walk.user_leaves: 0.1,
}


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([0, 1]))
def test_every_order(seed: int, disturbance: int) -> None:
    random = Random(seed)
    walk = Walk(random)
    weights = [weight if weight >= 1 else weight * disturbance for weight in EVENTS.values()]
    try:
        for event in random.choices([*EVENTS], weights, k=300):
            event(walk)
            walk.check()
        walk.check_answers()
        walk.finish()
    finally:
        walk.close()
