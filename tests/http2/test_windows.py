from __future__ import annotations

import pytest
from h2.exceptions import FlowControlError

from pog.http2.windows import LARGEST_WINDOW, Budget, ReceiveWindow

SIZE = 1000
RTT = 0.1


def use(window: ReceiveWindow, size: int, now: float, *, may_grow: bool = True) -> int:
    """The peer sends and we consume; what is announced."""
    announced = 0
    while size:
        part = min(size, 50, window.current_window_size)
        window.window_consumed(part)
        announced += window.returned(part, now, RTT, may_grow=may_grow)
        size -= part
    return announced


def test_credit_goes_back_in_quarters() -> None:
    window = ReceiveWindow(SIZE)
    window.window_consumed(400)
    assert window.returned(249, 0.0, RTT) == 0
    assert window.returned(1, 0.0, RTT) == 250
    assert window.current_window_size == SIZE - 400 + 250
    assert window.unconsumed == 150


def test_what_is_held_is_not_announced() -> None:
    window = ReceiveWindow(SIZE)
    window.window_consumed(SIZE)
    assert window.returned(SIZE // 2, 0.0, RTT) == SIZE // 2
    assert window.current_window_size + window.unconsumed == SIZE


def test_more_than_the_window_is_an_error_and_nothing_is_counted() -> None:
    window = ReceiveWindow(SIZE)
    with pytest.raises(FlowControlError):
        window.window_consumed(SIZE + 1)
    assert window.current_window_size == SIZE


def test_an_empty_frame_fits_a_negative_window() -> None:
    """INITIAL_WINDOW_SIZE was lowered: RFC 9113 section 6.9.2."""
    window = ReceiveWindow(SIZE)
    window.window_consumed(SIZE)
    window.window_opened(-300)
    window.max_window_size -= 300
    window.window_consumed(0)
    with pytest.raises(FlowControlError):
        window.window_consumed(1)
    assert window.returned(100, 0.0, RTT) == 0
    assert window.returned(900, 0.0, RTT) == 1000
    assert window.current_window_size == 700


def test_a_window_does_not_open_beyond_what_the_protocol_allows() -> None:
    with pytest.raises(FlowControlError):
        ReceiveWindow(LARGEST_WINDOW).window_opened(1)


def test_a_window_used_up_within_two_round_trips_doubles_up_to_its_ceiling() -> None:
    window = ReceiveWindow(SIZE, ceiling=5 * SIZE)
    now = 0.0
    sizes = []
    for _ in range(4):
        now += RTT
        use(window, window.max_window_size, now)
        sizes.append(window.max_window_size)
    assert sizes == [2 * SIZE, 4 * SIZE, 5 * SIZE, 5 * SIZE]
    assert window.current_window_size + window.unconsumed <= 5 * SIZE


@pytest.mark.parametrize(("rtt", "grows"), [(0.05, True), (0.001, False)])
def test_far_away_a_window_grows_though_lost_segments_make_it_wait(rtt: float, grows: bool) -> None:
    """Each window takes three round trips: one on its way, two for what was lost and sent again."""
    window = ReceiveWindow(SIZE, ceiling=4 * SIZE)
    for step in range(1, 20):
        window.window_consumed(window.current_window_size)
        window.returned(window.unconsumed, step * 3 * rtt, rtt)
    assert window.max_window_size == (4 * SIZE if grows else SIZE)


def test_a_slow_reader_does_not_make_the_window_grow() -> None:
    window = ReceiveWindow(SIZE, ceiling=8 * SIZE)
    for step in range(1, 50):
        use(window, SIZE // 2, step * 3 * RTT)
    assert window.max_window_size == SIZE


def test_a_window_does_not_grow_while_memory_is_short_or_the_round_trip_unknown() -> None:
    short, unknown = ReceiveWindow(SIZE, ceiling=8 * SIZE), ReceiveWindow(SIZE, ceiling=8 * SIZE)
    for step in range(20):
        use(short, SIZE, step * 0.01, may_grow=False)
        unknown.window_consumed(SIZE // 2)
        unknown.returned(SIZE // 2, step * 0.01, None)
    assert short.max_window_size == unknown.max_window_size == SIZE


def test_an_idle_window_shrinks_to_its_first_size() -> None:
    window = ReceiveWindow(SIZE, ceiling=8 * SIZE)
    for step in range(6):
        use(window, 3 * window.max_window_size, step * RTT)
    assert window.max_window_size == 8 * SIZE
    use(window, 4 * SIZE, 100.0)
    assert window.max_window_size == SIZE
    use(window, window.current_window_size, 100.1)
    assert window.current_window_size + window.unconsumed <= 2 * SIZE


@pytest.mark.parametrize(("shared", "rtt", "size"), [(True, 0.001, 128), (False, 0.001, 1024), (True, 0.05, 1024)])
def test_a_window_that_feeds_a_queue_before_others_on_a_near_network_shrinks(
    shared: bool, rtt: float, size: int
) -> None:
    window = ReceiveWindow(1024 * 1024, ceiling=1024 * 1024)
    for step in range(1000):
        window.window_consumed(64 * 1024)
        window.returned(64 * 1024, step * 4 * rtt, rtt, shared=shared)
    assert window.max_window_size == size * 1024


def test_what_the_budget_allows() -> None:
    budget = Budget(1000)
    said = []
    for budget.used in (0, 500, 1000, 1250):
        said.append((budget.may_grow, budget.exhausted, budget.refuses(reader=False), budget.refuses(reader=True)))
    assert said == [
        (True, False, False, False),
        (False, False, False, False),
        (False, True, True, False),
        (False, True, True, True),
    ]
