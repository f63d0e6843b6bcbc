from __future__ import annotations

from typing import TYPE_CHECKING, cast

from hypothesis import given
from hypothesis import strategies as st

from pog.http2.scheduler import Scheduler, SendQueue

if TYPE_CHECKING:
    from pog.http2.machine_stream import MachineStream


def queue(name: str, size: int = 1) -> SendQueue:
    made = SendQueue(cast("MachineStream", name))
    made.add([bytes(size)], size)
    return made


def order(scheduler: Scheduler, turns: int, more: set[str]) -> str:
    """Who gets the next turns; those in `more` always have more to send."""
    names = ""
    for _ in range(turns):
        served = scheduler.next()
        if served is None:
            break
        name = cast("str", served.machine)
        names += name
        if name in more:
            scheduler.again(served)
    return names


def test_streams_with_much_data_take_turns() -> None:
    scheduler = Scheduler()
    for name in "abc":
        scheduler.wake(queue(name))
    assert order(scheduler, 9, {"a", "b", "c"}) == "abcabcabc"


def test_a_new_stream_goes_before_those_in_the_ring() -> None:
    scheduler = Scheduler()
    for name in "abc":
        scheduler.wake(queue(name))
    assert order(scheduler, 4, {"a", "b", "c"}) == "abca"
    scheduler.wake(queue("x"))
    assert order(scheduler, 4, {"a", "b", "c"}) == "xbca"


def test_a_stream_that_wakes_again_and_again_does_not_starve_the_others() -> None:
    scheduler = Scheduler()
    bulk, eager = queue("b"), queue("e")
    scheduler.wake(bulk)
    assert scheduler.next() is bulk
    scheduler.again(bulk)
    served = ""
    for _ in range(10):
        scheduler.wake(eager)
        served += order(scheduler, 1, {"b"})
    assert served.count("b") >= 4


def test_waking_twice_is_waking_once() -> None:
    scheduler = Scheduler()
    a = queue("a")
    scheduler.wake(a)
    scheduler.wake(a)
    assert scheduler.waiting == 1
    assert scheduler.next() is a
    assert scheduler.next() is None


def test_a_stream_that_is_gone_has_no_turn() -> None:
    scheduler = Scheduler()
    a, b = queue("a"), queue("b")
    scheduler.wake(a)
    scheduler.wake(b)
    a.close()
    assert scheduler.next() is b
    assert scheduler.next() is None
    assert a.size == 0


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=20), st.lists(st.integers(0, 60), max_size=40))
def test_what_is_taken_is_what_was_added(chunks: list[bytes], limits: list[int]) -> None:
    made = SendQueue(cast("MachineStream", "a"))
    made.add([*chunks], sum(map(len, chunks)))
    taken = b""
    for limit in [*limits, 1000]:
        pieces = b"".join(made.take(limit))
        assert len(pieces) <= limit
        taken += pieces
        assert made.size == sum(map(len, chunks)) - len(taken)
    assert taken == b"".join(chunks)
    assert made.take(10) == []
