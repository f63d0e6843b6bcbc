"""The relay's state table: whatever happens at both ends, in whatever order, between two transports in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pog.tunnel import relay as module
from pog.tunnel.ended import Ended, Reason, Side, State
from pog.tunnel.relay import Relay
from tests.tunnel.model import Model, content

if TYPE_CHECKING:
    from collections.abc import Callable

HIGH, LOW = 64, 16
PIECE = 48
EARLY = 300
# What a direction may hold: what the writing end may before it pauses, the piece that went beyond, and the one that
# was on its way. Early bytes are there before anybody can pause.
BOUND = EARLY + HIGH + 2 * PIECE


class Joined(RuleBasedStateMachine):
    """Both ends of a relay, from before its start until after its end."""

    @initialize(
        early=st.integers(0, EARLY),
        ended=st.booleans(),
        lost=st.sampled_from([None, None, None, ConnectionResetError("before the start")]),
        bulk=st.booleans(),
        pieces_per_look=st.sampled_from([3, 1000]),
    )
    def start(self, early: int, ended: bool, lost: Exception | None, bulk: bool, pieces_per_look: int) -> None:
        self.pieces_per_look, module._PIECES_PER_LOOK = module._PIECES_PER_LOOK, pieces_per_look
        self.later: list[Callable[[], None]] = []
        self.local = Model("local", self.later, high=HIGH, low=LOW)
        self.tunnel = Model("tunnel", self.later, high=HIGH, low=LOW, bulk=PIECE // 2 if bulk else None)
        self.tunnel.reading = True
        self.ends: list[Ended] = []
        self.relay = Relay(
            self.local, self.tunnel, idle_timeout=0, half_close_timeout=0, on_end=self.ends.append, answerer=Side.LOCAL
        )
        self.local.delivered = early
        self.local.end_arrived, self.local.end_told = ended, int(ended)
        self.local.lost = self.local.closing = lost is not None
        self.relay.start(content(0, early), ended=ended, lost=lost)

    @rule(at=st.sampled_from(["local", "tunnel"]), size=st.integers(1, PIECE))
    def data(self, at: str, size: int) -> None:
        self.end_named(at).arrive(size)

    @rule(at=st.sampled_from(["local", "tunnel"]), size=st.integers(1, 4 * PIECE))
    def take(self, at: str, size: int) -> None:
        self.end_named(at).take(size)

    @rule(at=st.sampled_from(["local", "tunnel"]))
    def end(self, at: str) -> None:
        self.end_named(at).end()

    @rule(at=st.sampled_from(["local", "tunnel"]), error=st.booleans())
    @precondition(lambda self: not self.relay.ended)
    def lose(self, at: str, error: bool) -> None:
        self.end_named(at).lose(ConnectionResetError("cut") if error else None)

    @rule()
    def turn(self) -> None:
        """A pass of the event loop."""
        due, self.later[:] = [*self.later], []
        for action in due:
            action()

    def end_named(self, name: str) -> Model:
        return self.local if name == "local" else self.tunnel

    def directions(self) -> list[tuple[Model, Model]]:
        return [(self.local, self.tunnel), (self.tunnel, self.local)]

    @invariant()
    def bytes_are_whole_and_in_order_and_few(self) -> None:
        for source, sink in self.directions():
            assert sink.written == content(0, len(sink.written))
            if not sink.closing:
                assert len(sink.written) == source.delivered
            assert sink.get_write_buffer_size() <= BOUND

    @invariant()
    def what_cannot_be_written_is_not_read(self) -> None:
        for source, sink in self.directions():
            if self.relay.ended or source.closing or sink.closing or source.end_told:
                continue
            assert source.reading == (not sink.full), f"the {source.name} end is read: {source.reading}"

    @invariant()
    def ends_pass_through(self) -> None:
        for source, sink in self.directions():
            if not sink.closing:
                assert sink.eofs_written == bool(source.end_told)

    @invariant()
    def it_ends_once(self) -> None:
        assert len(self.ends) == (self.relay.ended is not None)
        if self.ends and self.ends[0].reason is Reason.DONE:
            assert self.local.lost and self.tunnel.lost, "what they still had to send could be cut"

    def teardown(self) -> None:
        """Everybody takes everything and says the end: an unhurt relay is done, and has lost nothing."""
        module._PIECES_PER_LOOK = self.pieces_per_look
        hurt = self.local.lost or self.tunnel.lost or bool(self.ends)
        for _ in range(20):
            for end in (self.local, self.tunnel):
                end.take(10 * BOUND)
                if not end.end_arrived:
                    end.end()
            self.turn()
        assert len(self.ends) == 1
        if not hurt:
            assert self.ends[0].reason is Reason.DONE
            for source, sink in self.directions():
                assert sink.taken == source.delivered
            assert self.relay.state is State.CLOSING


Joined.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestEveryOrder = Joined.TestCase
