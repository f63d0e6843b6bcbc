"""The times of dials, on a clock that the test sets."""

import math
import random

import pytest

from pog.client.exits.redial import Backoff, Redial


def test_it_grows_to_its_maximum_and_starts_again() -> None:
    backoff = Backoff(jitter=0)
    assert [round(backoff.failed(), 2) for _ in range(8)] == [1, 1.6, 2.56, 4.1, 6.55, 10.49, 16.78, 20]
    backoff.succeeded()
    assert backoff.failed() == 1


def test_jitter_stays_within_a_fifth() -> None:
    delays = [Backoff(random=random.Random(seed)).failed() for seed in range(200)]
    assert 0.8 <= min(delays) < 0.85
    assert 1.15 < max(delays) <= 1.2


def test_days_of_failures_do_not_overflow() -> None:
    backoff = Backoff(jitter=0, failures=10**6)
    assert backoff.failed() == 20


def redial(**changes: float) -> Redial:
    return Redial(Backoff(jitter=0, **changes), urgent_interval=1.0)  # type: ignore[arg-type]


def test_the_first_dial_is_due_at_once() -> None:
    assert redial().due(urgent=False) == redial().due(urgent=True) == -math.inf


def test_failures_put_the_next_dial_off_longer_and_longer() -> None:
    times = redial()
    now = 100.0
    for delay in (1.0, 1.6, 2.56):
        times.began(now)
        assert times.failed(now + 0.5) == pytest.approx(delay)
        assert times.due(urgent=False) == pytest.approx(now + 0.5 + delay)
        now = times.due(urgent=False)


def test_while_requests_wait_a_second_is_enough() -> None:
    times = redial(base=10.0)
    times.began(100.0)
    times.failed(100.1)
    assert times.due(urgent=False) == 110.1
    assert times.due(urgent=True) == 101.0
    times = redial()
    times.began(100.0)
    times.failed(109.0)
    assert times.due(urgent=True) == 101.0, "a dial that took long was a wait already"


def test_a_connection_that_stayed_begins_the_back_off_anew() -> None:
    times = redial()
    for _ in range(5):
        times.failed(100.0)
    times.opened()
    assert times.due(urgent=False) == -math.inf
    times.ended(200.0, lasted=20.0, announced=False)
    assert times.due(urgent=False) == -math.inf
    assert times.failed(200.0) == 1.0


@pytest.mark.parametrize(("announced", "first"), [(True, -math.inf), (False, 101.0)])
def test_a_connection_that_ends_soon_is_a_failure_and_an_announced_end_is_forgiven_once(
    announced: bool, first: float
) -> None:
    times = redial()
    times.opened()
    times.ended(100.0, lasted=19.9, announced=announced)
    assert times.due(urgent=False) == first
    times.opened()
    times.ended(110.0, lasted=1.0, announced=announced)
    assert times.due(urgent=False) == pytest.approx(111.6)
