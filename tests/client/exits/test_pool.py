"""The pool, with connections and dials played by the test."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry, Gauge

from pog.client.exits import picker
from pog.client.exits.pool import Limits, Pool
from pog.client.exits.redial import Backoff
from pog.errors import ExitUnavailable, FailureKind
from tests.client.support import SECONDS


@dataclass(eq=False)
class FakeSession:
    limit: int = 100
    active: int = 0
    draining: bool = False
    aborted: str = ""

    @property
    def capacity(self) -> int:
        return self.limit - self.active

    def drain(self) -> None:
        self.draining = True

    def abort(self, reason: str) -> None:
        self.aborted = reason


@dataclass
class Dials:
    """Each dial waits for the test's answer."""

    started: asyncio.Queue[asyncio.Future[FakeSession]] = field(default_factory=asyncio.Queue)
    count: int = 0

    async def dial(self) -> FakeSession:
        answer: asyncio.Future[FakeSession] = asyncio.get_running_loop().create_future()
        self.count += 1
        self.started.put_nowait(answer)
        return await answer

    async def next(self) -> asyncio.Future[FakeSession]:
        async with asyncio.timeout(SECONDS):
            return await self.started.get()

    async def connect(self, limit: int = 100) -> FakeSession:
        """Lets the next dial succeed, and the pool take note."""
        session = FakeSession(limit)
        (await self.next()).set_result(session)
        await turns()
        return session

    async def fail(self, reason: str = "refused", kind: FailureKind = FailureKind.EXIT_UNAVAILABLE) -> None:
        (await self.next()).set_exception(ExitUnavailable(reason, kind))
        await turns()


async def turns() -> None:
    """Lets everything that is ready run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def open_stream(pool: Pool[FakeSession]) -> FakeSession:
    session = await pool.acquire()
    session.active += 1
    return session


def waiting_gauge() -> Gauge:
    return Gauge("waiting", "", registry=CollectorRegistry())


def quick(wait: float = SECONDS, age: float = 0, waiters: int = 1000) -> Limits:
    return Limits(wait, age, Backoff(base=0.01, maximum=0.02), urgent_interval=0.01, waiting=waiters)


def make(dials: Dials, limits: Limits | None = None, waiting: Gauge | None = None) -> Pool[FakeSession]:
    pool = Pool("west", dials.dial, limits or quick(), waiting or waiting_gauge())
    pool.start()
    return pool


async def test_one_connection_is_kept_open_and_redialled_when_lost() -> None:
    dials = Dials()
    pool = make(dials)
    first = await dials.connect()
    assert await pool.acquire() is first
    assert dials.count == 1
    pool.lost(first, "reset")
    second = await dials.connect()
    assert await pool.acquire() is second
    await pool.close()
    assert second.aborted


async def test_one_that_cannot_be_reached_any_more_is_dead_though_streams_go_on() -> None:
    dials, dead = Dials(), asyncio.Queue[str]()
    pool = Pool("west", dials.dial, quick(), waiting_gauge(), lambda: dead.put_nowait("dead"))
    pool.start()
    going = await dials.connect()
    going.active = 2
    going.draining = True
    pool.draining(going)
    assert dead.empty(), "the next connection may be there at once"
    await dials.fail()
    assert (dead.get_nowait(), going.aborted) == ("dead", "")
    await dials.connect()
    assert dead.empty()
    await pool.close()


async def test_one_with_a_connection_is_not_dead_when_another_dial_fails() -> None:
    dials, dead = Dials(), asyncio.Queue[str]()
    pool = Pool("west", dials.dial, quick(), waiting_gauge(), lambda: dead.put_nowait("dead"))
    pool.start()
    full = await dials.connect(limit=1)
    assert await open_stream(pool) is full
    assert pool.pick() is None, "there is no room, so another connection is wanted"
    await dials.fail()
    assert dead.empty()
    await pool.close()


async def test_failed_dials_are_repeated_with_back_off_until_one_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    dials = Dials()
    pool = make(dials)
    for _ in range(3):
        await dials.fail("connection refused")
    session = await dials.connect()
    assert await pool.acquire() is session
    await pool.close()
    said = [record.getMessage() for record in caplog.records if "connection refused" in record.getMessage()]
    assert len(said) == 1, "an outage is one line in the log"


@pytest.mark.parametrize(
    "error", [UnicodeError("label empty\nor too long"), RuntimeError(), ExceptionGroup("two", [OSError(), OSError()])]
)
async def test_an_unforeseen_exception_is_a_failed_dial(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    """It backs off as after any other, and is one line in the log."""

    dials = Dials()
    pool = make(dials, Limits(0.01, 0, Backoff(base=1000, maximum=1000), urgent_interval=1000))
    (await dials.next()).set_exception(error)
    await turns()
    assert dials.count == 1
    with pytest.raises(ExitUnavailable, match=f"west: no connection .*: {type(error).__name__}"):
        await pool.acquire()
    await pool.close()
    lines = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [record.exc_info for record in lines] == [None]
    assert "\n" not in lines[0].getMessage()


async def test_a_dial_that_is_cancelled_from_within_is_a_failed_dial() -> None:
    dials = Dials()
    pool = make(dials, Limits(0.01, 0, Backoff(base=1000, maximum=1000), urgent_interval=1000))
    (await dials.next()).cancel()
    await turns()
    assert dials.count == 1
    with pytest.raises(ExitUnavailable, match="cancelled"):
        await pool.acquire()
    await pool.close()


async def test_the_problem_is_why_no_connection_takes_new_streams() -> None:
    dials = Dials()
    pool = make(dials)
    assert pool.problem == "west: no connection yet"
    await dials.fail("connection refused")
    assert pool.problem == "west: connection refused"
    session = await dials.connect(limit=1)
    await open_stream(pool)
    assert pool.problem == "", "a full connection is one"
    session.draining = True
    assert pool.problem
    await pool.close()
    assert pool.problem == "west: the client is shutting down"


async def test_a_request_waits_for_the_connection_and_gets_the_reason_when_none_comes() -> None:
    dials, waiting = Dials(), waiting_gauge()
    pool = make(dials, quick(wait=0.1), waiting)
    request = asyncio.create_task(pool.acquire())
    await dials.fail("connection refused")
    assert next(iter(waiting.collect())).samples[0].value == 1
    with pytest.raises(ExitUnavailable, match=r"west: no connection within 0\.1 s: connection refused"):
        await request
    assert next(iter(waiting.collect())).samples[0].value == 0
    await pool.close()


async def test_what_the_client_itself_lacks_is_no_fault_of_the_server() -> None:
    dials = Dials()
    pool = make(dials, Limits(0.01, 0, Backoff(base=1000, maximum=1000), urgent_interval=1000))
    (await dials.next()).set_exception(ExitUnavailable("Too many open files", FailureKind.LIMIT))
    await turns()
    with pytest.raises(ExitUnavailable, match="Too many open files") as caught:
        await pool.acquire()
    assert caught.value.failure.kind is FailureKind.LIMIT
    await pool.close()
    with pytest.raises(ExitUnavailable, match="west: the client is shutting down") as caught:
        await pool.acquire()
    assert caught.value.failure.kind is FailureKind.STOPPING


async def test_a_waiting_request_does_not_wait_for_a_long_back_off() -> None:
    dials = Dials()
    pool = make(dials, Limits(SECONDS, 0, Backoff(base=3600, maximum=3600), urgent_interval=0.01))
    await dials.fail()
    request = asyncio.create_task(pool.acquire())
    await dials.fail()
    session = await dials.connect()
    assert await request is session
    await pool.close()


async def test_a_lack_of_the_clients_own_is_told_as_such_until_another_reason_is_known() -> None:
    dials = Dials()
    pool = make(dials, quick(wait=0.05))
    for error, kind in (
        (ExitUnavailable("Too many open files", FailureKind.LIMIT), FailureKind.LIMIT),
        (ExitUnavailable("Connection refused"), FailureKind.EXIT_UNAVAILABLE),
    ):
        (await dials.next()).set_exception(error)
        await turns()
        with pytest.raises(ExitUnavailable, match=str(error)) as caught:
            await pool.acquire()
        assert caught.value.failure.kind is kind
    await pool.close()


async def test_too_many_waiting_requests_are_refused_at_once() -> None:
    dials = Dials()
    pool = make(dials, quick(waiters=2))
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(2)]
    await turns()
    with pytest.raises(ExitUnavailable, match="2 requests wait already") as caught:
        await pool.acquire()
    assert caught.value.failure.kind is FailureKind.LIMIT
    await pool.close()
    for request in waiting:
        with pytest.raises(ExitUnavailable, match="shutting down"):
            await request


async def test_requests_wait_in_order_and_one_that_gives_up_passes_its_turn_on() -> None:
    dials = Dials()
    pool = make(dials)
    session = await dials.connect(limit=1)
    session.active = 1
    served: list[int] = []

    async def request(number: int) -> None:
        await open_stream(pool)
        served.append(number)

    tasks = [asyncio.create_task(request(number)) for number in range(3)]
    await turns()
    tasks[0].cancel()
    for expected in ([1], [1, 2]):
        session.active -= 1
        pool.stream_ended()
        await turns()
        assert served == expected
    await asyncio.gather(*tasks, return_exceptions=True)
    await pool.close()


async def test_another_connection_is_dialled_before_the_streams_run_out() -> None:
    dials = Dials()
    pool = make(dials)
    first = await dials.connect(limit=100)
    first.active = 89
    assert await pool.acquire() is first
    assert dials.count == 1
    first.active = 90
    assert await pool.acquire() is first
    second = await dials.connect(limit=100)
    assert await pool.acquire() is second, "the one with the fewest streams"
    assert dials.count == 2
    await pool.close()


async def test_a_burst_dials_as_many_as_it_needs_at_once() -> None:
    dials = Dials()
    pool = make(dials)
    first = await dials.connect(limit=100)
    first.active = 100
    requests = [asyncio.create_task(open_stream(pool)) for _ in range(250)]
    await turns()
    assert dials.count == 1 + 3
    for _ in range(3):
        await dials.connect(limit=100)
    sessions = {await request for request in requests}
    assert sorted(session.active for session in sessions) == [50, 100, 100]
    await pool.close()


async def test_no_connection_gets_more_streams_than_our_own_limit() -> None:
    dials = Dials()
    pool = make(dials)
    first = await dials.connect(limit=2**31)
    first.active = picker.STREAMS_PER_CONNECTION
    request = asyncio.create_task(pool.acquire())
    second = await dials.connect()
    assert await request is second
    await pool.close()


async def test_a_connection_that_the_server_retires_gets_no_streams_and_is_replaced() -> None:
    dials = Dials()
    pool = make(dials)
    first = await dials.connect()
    first.active = 5
    first.draining = True
    pool.draining(first)
    second = await dials.connect()
    assert await pool.acquire() is second
    pool.lost(first, "drained")
    await turns()
    assert dials.count == 2
    assert not first.aborted
    await pool.close()


async def test_an_old_connection_serves_until_its_successor_is_there() -> None:
    dials = Dials()
    pool = make(dials, quick(age=0.01))
    first = await dials.connect()
    successor = await dials.next()
    assert await pool.acquire() is first
    assert not first.draining
    second = FakeSession()
    successor.set_result(second)
    await turns()
    assert first.draining
    assert not first.aborted
    assert await pool.acquire() is second
    await pool.close()


async def test_a_server_that_ends_connections_at_once_is_not_dialled_in_a_loop() -> None:
    dials = Dials()
    pool = make(dials, Limits(SECONDS, 0, Backoff(base=3600, maximum=3600), urgent_interval=3600))
    session = await dials.connect()
    pool.lost(session, "closed by the peer")
    await turns()
    assert dials.count == 1
    await pool.close()


async def test_a_server_that_retires_connections_at_once_is_not_dialled_in_a_loop() -> None:
    """The first time it may be a restart, and the next dial reaches the successor."""

    dials = Dials()
    pool = make(dials, Limits(SECONDS, 0, Backoff(base=1000, maximum=1000), urgent_interval=0.01))
    for expected in (2, 2):
        session = await dials.connect()
        session.draining = True
        pool.draining(session)
        await turns()
        assert dials.count == expected
        pool.lost(session, "drained")
    waiting = asyncio.create_task(pool.acquire(), name="user")  # who waits does not wait for long
    assert await dials.connect() is await waiting
    await pool.close()


async def test_a_connection_without_room_from_the_beginning_counts_as_a_failed_dial() -> None:
    dials = Dials()
    pool = make(dials, Limits(0.01, 0, Backoff(base=1000, maximum=1000), urgent_interval=1000))
    session = await dials.connect(limit=0)
    assert session.aborted
    assert dials.count == 1
    with pytest.raises(ExitUnavailable, match="takes no streams"):
        await pool.acquire()
    await pool.close()


@pytest.mark.parametrize(
    "kind", [FailureKind.EXIT_CERTIFICATE, FailureKind.EXIT_MISCONFIGURED, FailureKind.EXIT_CREDENTIALS]
)
async def test_a_reason_that_lasts_is_told_at_once(kind: FailureKind) -> None:
    """And whoever mends it need not wait for a back-off: each request brings the next dial forward."""
    dials = Dials()
    pool = make(dials, Limits(1000, 0, Backoff(base=1000, maximum=1000), urgent_interval=0.01))
    waiting = asyncio.create_task(pool.acquire())
    await dials.fail("the certificate", kind)
    with pytest.raises(ExitUnavailable, match="^west: the certificate$") as caught:
        await waiting
    assert caught.value.failure.kind is kind
    for _ in range(2):
        with pytest.raises(ExitUnavailable, match="^west: the certificate$"):
            await pool.acquire()
        await dials.fail("the certificate", kind)
    assert dials.count == 3, "no request, no dial before the back-off"
    with pytest.raises(ExitUnavailable):
        await pool.acquire()
    session = await dials.connect()
    assert await pool.acquire() is session
    await pool.close()


async def test_a_connection_that_refused_is_avoided_when_there_is_another() -> None:
    dials = Dials()
    pool = make(dials)
    only = await dials.connect(limit=10)
    assert await pool.acquire(avoid=only) is only
    only.active = 9
    await pool.acquire()
    other = await dials.connect()
    other.active = 50
    assert await pool.acquire(avoid=only) is other
    await pool.close()


async def test_what_a_burst_left_over_is_closed_when_nobody_needs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picker, "IDLE_CHECK_INTERVAL", 0.01)

    dials = Dials()
    pool = make(dials)
    first = await dials.connect()
    first.active = 95
    await pool.acquire()
    second = await dials.connect()
    first.active = 0
    gone = asyncio.Event()
    second.drain = gone.set  # type: ignore[method-assign]
    async with asyncio.timeout(SECONDS):
        await gone.wait()
    assert not first.draining
    await pool.close()


async def test_closing_ends_dials_and_takes_no_connection_that_comes_late() -> None:
    dials = Dials()
    pool = make(dials)
    dial = await dials.next()
    await pool.close()
    assert dial.cancelled()
