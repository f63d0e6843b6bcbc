"""A whole tunnel in memory, from socket to socket with all that is between: every order of what may happen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from pog.http2.config import SessionConfig
from pog.tunnel.ended import Ended, Reason, Side
from pog.tunnel.lane import LaneTransport
from pog.tunnel.relay import Relay
from tests.http2.factory import REQUEST, RESPONSE
from tests.http2.memory import Sessions, settle
from tests.tunnel.model import Model, content

if TYPE_CHECKING:
    from collections.abc import Callable

KIB = 1024
WINDOW = 64 * KIB
PIECE = 100_000
EARLY = 300_000
CONFIG = SessionConfig(stream_window=WINDOW, reader_window=WINDOW, stream_window_ceiling=WINDOW)
# What both ends and the stream between them may hold of one direction: the early bytes, a socket's buffer, the stream's
# queue (its mark and a write), its window, and at each end a piece that was on its way.
BOUND = EARLY + 64 * KIB + CONFIG.write_high + WINDOW + 3 * PIECE

Actions = list[tuple[str, str, int]]


class Whole:
    """A tunnel at work. Actions happen at the user's or at the destination's socket."""

    def __init__(self, sessions: Sessions) -> None:
        self.sessions = sessions
        self.later: list[Callable[[], None]] = []
        self.user = Model("user", self.later, high=64 * KIB, low=16 * KIB)
        self.destination = Model("destination", self.later, high=64 * KIB, low=16 * KIB)
        self.ends: dict[str, Ended] = {}

    async def start(self, early_up: int, early_down: int) -> None:
        stream, self.request = await self.sessions.call(REQUEST)
        await self.request.send_headers(RESPONSE)
        self.client = LaneTransport(stream, half_close=True)
        self.server = LaneTransport(self.request, half_close=True)
        self.up = self._relay(self.user, self.client, "client")
        self.down = self._relay(self.destination, self.server, "server")
        for relay, model, early in ((self.up, self.user, early_up), (self.down, self.destination, early_down)):
            model.delivered = early
            relay.start(content(0, early))

    def _relay(self, local: Model, tunnel: LaneTransport, name: str) -> Relay:
        def ended(how: Ended) -> None:
            assert name not in self.ends
            self.ends[name] = how
            if name == "server":  # what the handler does
                self.later.append(self._end_call)
            elif how.reason is not Reason.DONE:
                tunnel.abort()

        return Relay(local, tunnel, idle_timeout=0, half_close_timeout=0, on_end=ended)

    def _end_call(self) -> None:
        status = "0" if self.ends["server"].reason is Reason.DONE else "14"
        self.server.abort()
        if self.request.closable:
            self.request.end_with([("grpc-status", status), ("grpc-message", "")])

    async def turn(self) -> None:
        due, self.later[:] = [*self.later], []
        for action in due:
            action()
        await settle(3)

    async def act(self, action: str, at: str, size: int) -> None:
        model = self.user if at == "user" else self.destination
        if action == "data":
            model.arrive(size)
        elif action == "pour":
            for _ in range(20):
                model.arrive(size)
        elif action == "take":
            model.take(size)
        elif action == "end":
            model.end()
        elif action == "lose":
            model.lose(ConnectionResetError("cut"))
        else:
            await self.turn()

    def check(self) -> None:
        for source, sink in ((self.user, self.destination), (self.destination, self.user)):
            assert sink.written == content(0, len(sink.written))
            assert len(sink.written) <= source.delivered
            if not sink.closing:
                assert source.delivered - sink.taken <= BOUND

    async def finish(self) -> None:
        """Both sockets take everything and say their end."""
        for _ in range(60):
            for model in (self.user, self.destination):
                model.take(PIECE)
                if not model.end_arrived:
                    model.end()
            self.check()
            await self.turn()


ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(["data", "pour", "take", "turn", "turn", "end"]),
        st.sampled_from(["user", "destination"]),
        st.sampled_from([1, 1000, 20_000, PIECE]),
    ),
    max_size=40,
)
EARLY_BYTES = st.sampled_from([0, 0, 1, 70_000, EARLY])


async def play(whole: Whole, actions: Actions) -> None:
    for action in actions:
        await whole.act(*action)
        whole.check()


@settings(max_examples=60, deadline=None)
@given(ACTIONS, EARLY_BYTES, EARLY_BYTES)
async def test_whatever_the_order_everything_arrives_and_little_is_held(actions: Actions, up: int, down: int) -> None:
    whole = Whole(Sessions(client=CONFIG, server=CONFIG))
    await whole.start(up, down)
    await play(whole, actions)
    await whole.finish()
    for source, sink in ((whole.user, whole.destination), (whole.destination, whole.user)):
        assert sink.taken == source.delivered
    assert [how.reason for how in whole.ends.values()] == [Reason.DONE, Reason.DONE]
    check_nothing_stays(whole)


@settings(max_examples=40, deadline=None)
@given(ACTIONS, EARLY_BYTES, st.sampled_from(["user", "destination"]))
async def test_a_socket_that_breaks_ends_both_and_nothing_stays(actions: Actions, early: int, at: str) -> None:
    whole = Whole(Sessions(client=CONFIG, server=CONFIG))
    await whole.start(early, early)
    await play(whole, [*actions, ("lose", at, 0)])
    for _ in range(20):
        for model in (whole.user, whole.destination):
            model.take(PIECE)  # the status of a call comes behind the payload
        await whole.turn()
        whole.check()
    assert set(whole.ends) == {"client", "server"}
    assert whole.user.lost and whole.destination.lost
    if at == "destination" and not any(action == "end" for action, *_ in actions):
        assert (whole.ends["client"].reason, whole.ends["client"].side) == (Reason.RESET, Side.TUNNEL)
    check_nothing_stays(whole)


def check_nothing_stays(whole: Whole) -> None:
    sessions = whole.sessions
    assert not sessions.client.streams.open and not sessions.server.streams.open
    assert sessions.budget.used == 0
