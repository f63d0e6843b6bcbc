"""The times between attempts."""

import random

from pog.client.exits.backoff import Backoff


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
