"""The first flight goes again: orders of events, without a socket and without a clock."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pog.client.exits.retry import RetryTransport
from pog.errors import ConnectionLost, Failure, FailureKind
from pog.tunnel.first_flight import MAX_BYTES
from pog.tunnel.request import Tunnel
from tests.tunnel.test_first_flight import HELLO

if TYPE_CHECKING:
    from collections.abc import Callable

    from pog.tunnel.ended import Ended

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
USUAL = 65536


class Inner(asyncio.Transport):
    """The transport of one exit, played by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.eof = self.aborted = self.closed = False
        self.reading = True
        self.limit: int | None = USUAL
        self.down: asyncio.Protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limit = high

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.down = protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.aborted or self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class Gone(Inner):
    """It was lost before anybody listened, and can be used no more."""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        super().set_protocol(protocol)
        self.closed = True
        self.down.connection_lost(ConnectionResetError("closed"))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        raise RuntimeError("the handler is closed")  # as uvloop does

    pause_reading = resume_reading = write_eof = lambda self: self.write(b"")


class Local(asyncio.Protocol):
    """The relay's end of the tunnel."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.eof = self.paused = False
        self.lost: list[Exception | None] = []

    def data_received(self, data: bytes) -> None:
        assert not self.eof and not self.lost
        self.data += data

    def eof_received(self) -> bool:
        self.eof = True
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)

    def pause_writing(self) -> None:
        assert not self.paused
        self.paused = True

    def resume_writing(self) -> None:
        assert self.paused
        self.paused = False


@dataclass
class Others:
    """The exits behind the first one."""

    count: int
    asked: list[str] = field(default_factory=list)
    done: Callable[[Tunnel | Failure], None] | None = None
    cancelled: bool = False

    @property
    def left(self) -> bool:
        return len(self.asked) < self.count

    def again(self, why: str, done: Callable[[Tunnel | Failure], None]) -> Others:
        self.asked.append(why)
        self.done = done
        return self

    def cancel(self) -> None:
        self.cancelled = True

    def answer(self, result: Tunnel | Failure) -> None:
        assert self.done is not None
        done, self.done = self.done, None
        done(result)


class Scene:
    """A tunnel through exit «a» whose transport may be exchanged, and what was told of its ends."""

    def __init__(self, others: int = 1) -> None:
        self.first, self.others, self.local = Inner(), Others(others), Local()
        self.ends: list[tuple[str, Ended]] = []
        self.tunnel = Tunnel(self.first, "a", lambda how: self.ends.append(("a", how)))
        self.outer = RetryTransport(self.tunnel, self.others)
        self.tunnel.transport = self.outer
        self.outer.set_protocol(self.local)

    def next_exit(self, name: str = "b") -> Inner:
        inner = Inner()
        self.others.answer(Tunnel(inner, name, lambda how: self.ends.append((name, how)), reason=f"after {name}"))
        return inner


def broken() -> Exception:
    return ConnectionLost("reset")


@pytest.mark.parametrize("flight", [HELLO, HELLO[:50], GET, b"HEAD /"])
async def test_the_next_exit_gets_the_same_bytes_and_the_user_notices_nothing(flight: bytes) -> None:
    scene = Scene()
    scene.outer.write(flight)
    scene.first.down.connection_lost(broken())
    assert scene.local.paused and not scene.local.lost
    assert scene.first.aborted
    second = scene.next_exit()
    assert bytes(second.written) == flight
    assert not scene.local.paused
    second.down.data_received(b"answer")
    assert bytes(scene.local.data) == b"answer"
    assert (scene.tunnel.exit, scene.tunnel.reason) == ("b", "after b")
    assert [name for name, _ in scene.ends] == ["a"]
    assert "broke without an answer: " in scene.others.asked[0]


async def test_after_a_byte_down_nothing_goes_again() -> None:
    scene = Scene()
    scene.outer.write(HELLO)
    scene.first.down.data_received(b"x")
    error = broken()
    scene.first.down.connection_lost(error)
    assert scene.local.lost == [error]
    assert not scene.others.asked


@pytest.mark.parametrize(
    "flight", [b"", b"POST / HTTP/1.1\r\n\r\n", b"SSH-2.0-x\r\n", HELLO + b"\x17\x03\x03\x00\x01x"]
)
async def test_what_may_not_be_repeated_breaks_as_without_other_exits(flight: bytes) -> None:
    scene = Scene()
    scene.outer.write(flight)
    error = broken()
    scene.first.down.connection_lost(error)
    assert scene.local.lost == [error]
    assert not scene.others.asked


async def test_an_end_without_an_answer_is_a_break_too() -> None:
    scene = Scene()
    scene.outer.write(GET)
    scene.outer.write_eof()
    scene.first.down.eof_received()
    second = scene.next_exit()
    assert bytes(second.written) == GET
    assert second.eof
    second.down.eof_received()
    assert scene.local.eof, "no exit is left: that is the answer"


async def test_more_than_sixteen_kibibytes_are_not_kept() -> None:
    scene = Scene()
    scene.outer.write(b"GET /" + b"x" * MAX_BYTES)
    assert scene.first.down is scene.local
    scene.first.down.connection_lost(None)
    assert scene.local.lost == [None]


async def test_when_the_others_fail_too_the_first_break_is_told() -> None:
    scene = Scene(2)
    scene.outer.write(GET)
    error = broken()
    scene.first.down.connection_lost(error)
    second = scene.next_exit()
    second.down.connection_lost(None)
    scene.others.answer(Failure(FailureKind.EXIT_UNAVAILABLE, "gone"))
    assert len(scene.local.lost) == 1
    assert isinstance(scene.local.lost[0], ConnectionLost)


async def test_a_user_who_leaves_meanwhile_ends_the_search() -> None:
    scene = Scene()
    scene.outer.write(GET)
    scene.first.down.connection_lost(None)
    scene.outer.abort()
    scene.outer.abort()
    assert scene.others.cancelled
    await asyncio.sleep(0)
    assert scene.local.lost == [None]


async def test_reading_that_was_paused_stays_paused_at_the_next_exit() -> None:
    scene = Scene()
    scene.outer.write(GET)
    scene.outer.pause_reading()
    scene.first.down.connection_lost(None)
    second = scene.next_exit()
    assert not second.reading
    scene.outer.resume_reading()
    assert second.reading


async def test_silence_after_a_client_hello_is_a_break_and_after_a_get_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    due: list[Callable[[], object]] = []

    class Timer:
        def cancel(self) -> None:
            due.clear()

    def after(seconds: float, callback: Callable[[], object]) -> Timer:
        assert seconds == 5
        due.append(callback)
        return Timer()

    monkeypatch.setattr("pog.client.exits.retry.after", after)
    quiet = Scene()
    quiet.outer.write(GET)
    assert not due
    scene = Scene()
    scene.outer.write(HELLO)
    due.pop()()
    assert "no answer to the ClientHello within 5 s" in scene.others.asked[0]
    assert scene.first.aborted
    scene.first.down.connection_lost(None)  # nobody listens there any more
    second = scene.next_exit()
    assert bytes(second.written) == HELLO
    second.down.data_received(b"server hello")
    assert bytes(scene.local.data) == b"server hello"
    answered = Scene()
    answered.outer.write(HELLO)
    assert len(due) == 1
    answered.first.down.data_received(b"x")
    assert not due


async def test_a_limit_of_what_waits_is_the_limit_of_the_transport_inside() -> None:
    """A relay sets one where many small pieces come."""
    scene = Scene()
    for _ in range(2):
        scene.outer.set_write_buffer_limits(high=0)
        assert scene.first.limit == 0
        scene.outer.set_write_buffer_limits()
        assert scene.first.limit is None
        scene.first.down.data_received(b"x")
    waiting = Scene()
    waiting.outer.write(GET)
    waiting.first.down.connection_lost(None)
    waiting.outer.set_write_buffer_limits(high=0)
    assert waiting.next_exit().limit == USUAL, "what waits there is the first flight, and small"


async def test_an_exit_that_breaks_while_it_is_taken_over_is_given_up_for_the_next() -> None:
    """A dialled connection tells within set_protocol what has happened to it before."""
    scene = Scene(2)
    scene.outer.write(GET)
    scene.first.down.connection_lost(None)
    gone = Gone()
    scene.others.answer(Tunnel(gone, "b"))
    assert not gone.written
    assert scene.local.paused and not scene.local.lost
    last = scene.next_exit("c")
    assert bytes(last.written) == GET
    assert not scene.local.paused
    last.down.data_received(b"answer")
    assert bytes(scene.local.data) == b"answer"


class Narrow(Inner):
    """It is full after each write; `early` comes as soon as anybody listens."""

    early = b""

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        super().set_protocol(protocol)
        early, self.early = self.early, b""
        if early:
            self.down.data_received(early)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        super().write(data)
        self.down.pause_writing()


@pytest.mark.parametrize("others", [1, 2])
@pytest.mark.parametrize("early", [b"", b"220 hello"])
async def test_a_user_waits_for_an_exit_that_the_first_flight_has_filled(others: int, early: bytes) -> None:
    scene = Scene(others)
    scene.outer.write(GET)
    scene.first.down.connection_lost(None)
    narrow = Narrow()
    narrow.early = early
    scene.others.answer(Tunnel(narrow, "b"))
    assert bytes(narrow.written) == GET
    assert bytes(scene.local.data) == early
    assert scene.local.paused
    narrow.down.resume_writing()
    assert not scene.local.paused


async def test_the_late_end_of_an_exit_that_was_given_up_is_nobodys() -> None:
    """A socket that is closing tells its end in the next turn of the loop."""
    scene = Scene()
    scene.outer.write(GET)
    scene.first.closed = True
    old = scene.first.down
    old.eof_received()
    assert scene.others.asked
    old.connection_lost(broken())
    old.pause_writing()
    old.resume_writing()
    assert scene.local.paused and not scene.local.lost
    assert bytes(scene.next_exit().written) == GET


ACTS = st.sampled_from(
    ["write", "eof", "data", "end", "break", "open", "refuse", "pause", "resume", "full", "drained", "abort"]
)


@given(st.sampled_from([GET, HELLO, b"x"]), st.lists(ACTS, max_size=12), st.integers(0, 3))
async def test_in_any_order_nothing_is_lost_or_invented(flight: bytes, acts: list[str], others: int) -> None:
    """Each exit gets a beginning of what the user has sent, in order; the user gets one exit's bytes and one end."""
    scene = Scene(others)
    sent, inners, down, full = b"", [scene.first], {id(scene.first): b""}, False
    ended: set[int] = set()
    scene.outer.write(flight[:5])
    sent += flight[:5]
    rest = flight[5:]
    for act in acts:
        inner, over = inners[-1], bool(scene.local.lost) or scene.outer.is_closing()
        waiting = scene.others.done is not None
        if act == "write" and not over and not scene.local.paused and rest and not scene.outer._eof:
            scene.outer.write(rest)
            sent, rest = sent + rest, b""
        elif act == "eof" and not over and not scene.outer._eof and scene.outer.can_write_eof():
            scene.outer.write_eof()
        elif act == "data" and not over and not waiting and id(inner) not in ended:
            inner.down.data_received(b"d")
            down[id(inner)] += b"d"
        elif act == "end" and not over and not waiting and id(inner) not in ended:
            ended.add(id(inner))
            inner.down.eof_received()
        elif act == "break" and not over and not waiting:
            ended.add(id(inner))
            inner.down.connection_lost(broken())
        elif act == "open" and waiting and not scene.others.cancelled:
            inners.append(scene.next_exit(f"exit {len(inners)}"))
            down[id(inners[-1])] = b""
            full = False
        elif act == "refuse" and waiting and not scene.others.cancelled:
            scene.others.answer(Failure(FailureKind.EXIT_BUSY, "no"))
        elif act == "pause":
            scene.outer.pause_reading()
        elif act == "resume":
            scene.outer.resume_reading()
        elif act == "full" and not over and not waiting and not full:
            full = True
            inner.down.pause_writing()
        elif act == "drained" and not over and not waiting and full:
            full = False
            inner.down.resume_writing()
        elif act == "abort" and not over:
            scene.outer.abort()
    await asyncio.sleep(0)
    assert len(scene.local.lost) <= 1
    for inner in inners:
        assert sent.startswith(bytes(inner.written))
    if not scene.others.done and not scene.local.lost and not scene.outer.is_closing():
        assert bytes(inners[-1].written) == sent
    answers = [each for each in down.values() if each]
    assert bytes(scene.local.data) == (answers[-1] if answers else b"")
    assert len(answers) <= 1
    assert all(each.aborted or each.closed for each in inners[:-1])
