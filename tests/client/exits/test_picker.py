"""The choice of a connection and the number of connections, with time as a number and in every order of events."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pog.client.exits.picker import IDLE_CHECK_INTERVAL, STREAMS_PER_CONNECTION, Picker, Request, Step
from pog.client.exits.redial import Backoff, Redial

AGE = 1000.0
URGENT_INTERVAL = 1.0


@dataclass(eq=False)
class FakeSession:
    limit: int = 100
    active: int = 0
    draining: bool = False

    @property
    def capacity(self) -> int:
        return 0 if self.draining else self.limit - self.active

    def drain(self) -> None:
        self.draining = True

    def abort(self, reason: str) -> None:
        raise AssertionError("nothing here ends a connection")


@dataclass
class World:
    """Carries out what a step says, as the pool does; the test answers the dials."""

    age: float = 0.0
    now: float = 100.0
    dialling: int = 0
    granted: list[Request[FakeSession]] = field(default_factory=list)
    again_at: float | None = None

    def __post_init__(self) -> None:
        self.redial = Redial(Backoff(random=random.Random(1)), URGENT_INTERVAL)
        self.picker: Picker[FakeSession] = Picker(self.redial, self.age, random.Random(1))

    def step(self) -> Step[FakeSession]:
        step = self.picker.step(self.now, self.dialling)
        self.dialling += step.dials
        self.granted += step.granted
        self.again_at = step.again_at
        for session in step.drain:
            session.drain()
        return step

    def connect(self, limit: int = 100) -> FakeSession:
        """A dial succeeds."""
        session = FakeSession(limit)
        self.dialling -= 1
        self.picker.opened(session, self.now)
        self.step()
        return session

    def connected(self, limit: int = 100) -> FakeSession:
        self.step()
        return self.connect(limit)

    def request(self, avoid: FakeSession | None = None) -> Request[FakeSession]:
        request = Request(lambda: None, avoid)
        self.picker.waiting.append(request)
        self.step()
        return request

    def later(self, seconds: float) -> Step[FakeSession]:
        self.now += seconds
        return self.step()


def test_the_first_connection_is_opened_before_anybody_asks() -> None:
    world = World()
    assert world.step().dials == 1
    assert world.step().dials == 0, "it is under way"


def test_a_stream_goes_to_the_connection_with_the_fewest() -> None:
    world = World()
    first = world.connected()
    first.active = 95
    assert world.picker.take() is first
    assert world.picker.scarce
    second = world.connected()
    assert world.picker.take() is second
    assert not world.picker.scarce
    second.active = 96
    assert world.picker.take() is first


def test_what_is_promised_is_given_to_nobody_else() -> None:
    world = World()
    only = world.connected(limit=2)
    only.active = 2
    first, second = world.request(), world.request()
    only.active = 1
    world.step()
    assert (first.granted, second.granted) == (world.granted[0].granted, None)
    assert world.picker.take() is None
    world.picker.release(first)
    world.step()
    assert world.picker.claim(second) is only


def test_who_comes_later_does_not_overtake_those_who_wait() -> None:
    world = World()
    only = world.connected(limit=1)
    only.active = 1
    first = world.request()
    only.active = 0
    assert world.picker.take() is None
    world.step()
    assert world.picker.claim(first) is only


def test_a_grant_on_a_connection_that_ended_since_is_none() -> None:
    for end in ("draining", "lost"):
        world = World()
        only = world.connected()
        request = world.request()
        assert request.granted is not None
        if end == "draining":
            only.draining = True
        else:
            world.picker.lost(only, world.now)
        assert world.picker.claim(request) is None


def test_the_one_that_refused_is_avoided_when_there_is_another() -> None:
    world = World()
    refused = world.connected()
    assert world.picker.claim(world.request(avoid=refused)) is refused
    refused.active = 95
    other = world.connected()
    other.active = 97
    assert world.picker.claim(world.request(avoid=refused)) is other
    assert world.picker.claim(world.request()) is refused


@pytest.mark.parametrize(("waiting", "dials"), [(1, 1), (89, 1), (90, 2), (250, 3), (5000, 8)])
def test_a_burst_begins_as_many_dials_as_it_needs_but_not_more_than_8(waiting: int, dials: int) -> None:
    world = World()
    world.connected(limit=100).active = 100
    world.picker.waiting.extend(Request(lambda: None) for _ in range(waiting))
    world.step()
    assert world.dialling == dials


def test_a_server_that_fails_is_dialled_once_at_a_time() -> None:
    world = World()
    world.connected(limit=100).active = 100
    world.request()
    assert world.dialling == 1
    world.dialling -= 1
    world.redial.failed(world.now)
    world.picker.waiting.extend(Request(lambda: None) for _ in range(500))
    world.later(URGENT_INTERVAL)
    assert world.dialling == 1
    world.connect()
    assert world.dialling > 1, "now it answers"


def test_no_connection_gets_more_streams_than_our_own_limit() -> None:
    world = World()
    world.connected(limit=2**31).active = STREAMS_PER_CONNECTION
    assert world.picker.take() is None


def test_an_old_connection_serves_until_its_successor_is_there() -> None:
    world = World(age=AGE)
    first = world.connected()
    assert world.again_at is not None
    assert 0.9 * AGE <= world.again_at - world.now <= AGE
    assert world.later(world.again_at - world.now).dials == 1
    assert not first.draining
    assert world.picker.take() is first
    second = world.connect()
    assert first.draining
    assert world.picker.take() is second
    assert not world.picker.lost(first, world.now), "its end is no loss"
    assert world.step().dials == 0


def test_connections_of_one_burst_do_not_retire_together() -> None:
    world = World(age=AGE)
    world.connected().active = 95
    for _ in range(7):
        world.dialling += 1
        world.connect().active = 95
    times = {connection.retires_at for connection in world.picker._connections}
    assert len(times) == 8
    assert max(times) - min(times) > 0.01 * AGE


def test_what_a_burst_left_over_is_retired_at_the_second_check_without_a_stream() -> None:
    world = World()
    first = world.connected()
    first.active = 95
    second = world.connected()
    first.active = 0
    world.later(IDLE_CHECK_INTERVAL)
    assert not second.draining
    assert world.picker.take() is first, "which does not save the other"
    world.later(IDLE_CHECK_INTERVAL)
    assert second.draining
    for _ in range(3):
        world.later(IDLE_CHECK_INTERVAL)
    assert not first.draining, "one is kept"


def test_a_connection_used_between_two_checks_stays() -> None:
    world = World()
    first = world.connected()
    first.active = 95
    second = world.connected()
    for _ in range(4):
        world.later(IDLE_CHECK_INTERVAL)
        assert world.picker.take() is second
    assert not second.draining


def test_a_server_that_retires_connections_at_once_is_dialled_again_once_and_then_with_back_off() -> None:
    world = World()
    world.step()
    for delay in (0.0, 1.28):  # the second back-off, 1.6 s less a fifth
        session = world.connect()
        session.draining = True
        world.picker.going_away(session, world.now)
        world.step()
        assert world.dialling == (1 if not delay else 0)
    assert world.again_at is not None
    assert world.again_at - world.now >= delay


class AnyOrder(RuleBasedStateMachine):
    """Requests, dials, streams, ends and time in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(age=AGE)
        self.asked: list[Request[FakeSession]] = []
        self.last_dial = 0.0
        self.failed = False  # since the last dial that succeeded
        self.step()

    def step(self) -> None:
        step = self.world.step()
        if step.dials:
            assert self.world.dialling <= 8
            # The shortest back-off is 1 s less a fifth.
            assert not self.failed or self.world.now - self.last_dial >= 0.8, "a server that fails is dialled in a loop"
            self.last_dial = self.world.now
        if step.drain:
            assert any(not session.draining for session in self.open), "nothing is there to take its place"

    @property
    def open(self) -> list[FakeSession]:
        return [connection.session for connection in self.world.picker._connections]

    @rule()
    def request(self) -> None:
        session = self.world.picker.take()
        if session is not None:
            session.active += 1
            assert session.active <= min(session.limit, STREAMS_PER_CONNECTION)
        else:
            request: Request[FakeSession] = Request(lambda: None)
            self.asked.append(request)
            self.world.picker.waiting.append(request)
        self.step()

    @precondition(lambda self: self.world.granted)
    @rule(data=st.data())
    def open_stream(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.world.granted))
        self.world.granted.remove(request)
        self.asked.remove(request)
        session = self.world.picker.claim(request)
        if session is not None:
            session.active += 1
            assert session.active <= min(session.limit, STREAMS_PER_CONNECTION)
        self.step()

    @precondition(lambda self: self.asked)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        request = data.draw(st.sampled_from(self.asked))
        self.asked.remove(request)
        if request in self.world.granted:
            self.world.granted.remove(request)
        self.world.picker.release(request)
        self.step()

    @precondition(lambda self: any(session.active for session in self.open))
    @rule(data=st.data())
    def end_stream(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from([session for session in self.open if session.active])).active -= 1
        self.step()

    @precondition(lambda self: self.world.dialling)
    @rule(limit=st.sampled_from([1, 2, 10, 100, 1000]))
    def dial_succeeds(self, limit: int) -> None:
        self.failed = False
        self.world.dialling -= 1
        session = FakeSession(limit)
        self.world.picker.opened(session, self.world.now)
        self.step()

    @precondition(lambda self: self.world.dialling)
    @rule()
    def dial_fails(self) -> None:
        self.failed = True
        self.world.dialling -= 1
        self.world.redial.failed(self.world.now)
        self.step()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def goaway(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.open))
        if not session.draining:
            session.draining = True
            self.world.picker.going_away(session, self.world.now)
            self.step()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        session = data.draw(st.sampled_from(self.open))
        session.draining = True
        self.world.picker.lost(session, self.world.now)
        self.step()

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 10.0, IDLE_CHECK_INTERVAL, 500.0]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds
        self.step()

    @invariant()
    def no_promise_beyond_the_limits(self) -> None:
        for connection in self.world.picker._connections:
            limit = min(connection.session.limit, STREAMS_PER_CONNECTION)
            assert connection.session.active + connection.reserved <= limit
            assert connection.reserved == sum(request.granted is connection for request in self.world.granted)

    @invariant()
    def nobody_waits_while_a_stream_is_free(self) -> None:
        if self.world.picker.waiting:
            assert not any(connection.free for connection in self.world.picker._connections)

    @invariant()
    def who_came_first_is_served_first(self) -> None:
        waits = [request.granted is None for request in self.asked]
        assert waits == sorted(waits)

    @invariant()
    def a_connection_comes_sooner_or_later(self) -> None:
        fresh = any(not session.draining for session in self.open)
        if not fresh and not self.world.dialling:
            assert self.world.again_at is not None
            most = URGENT_INTERVAL if self.world.picker.waiting else 20 * 1.2
            assert self.world.again_at - self.world.now <= most
        if self.world.again_at is not None:
            assert self.world.again_at > self.world.now


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
