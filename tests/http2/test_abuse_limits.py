from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError

from pog.http2.abuse_limits import Abuse, AbuseLimits


def spend(guard: AbuseLimits, kind: Abuse, count: int, now: float) -> None:
    for _ in range(count):
        guard.spend(kind, now)


BURSTS = {Abuse.RAPID_RESET: 1000, Abuse.CHATTER: 1000, Abuse.STRAY: 1000, Abuse.SETTINGS: 100}


@pytest.mark.parametrize("kind", Abuse)
def test_a_burst_is_allowed_and_a_flood_is_not(kind: Abuse) -> None:
    guard = AbuseLimits()
    spend(guard, kind, BURSTS[kind], 5.0)
    with pytest.raises(DenialOfServiceError) as caught:
        spend(guard, kind, 2000, 5.0)
    assert caught.value.error_code == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("kind", Abuse)
def test_what_comes_slowly_never_adds_up(kind: Abuse) -> None:
    guard = AbuseLimits()
    for step in range(20_000):
        guard.spend(kind, step * 10 / BURSTS[kind])


def test_kinds_are_counted_apart() -> None:
    guard = AbuseLimits()
    spend(guard, Abuse.RAPID_RESET, 1000, 0.0)
    spend(guard, Abuse.STRAY, 1000, 0.0)
    spend(guard, Abuse.CHATTER, 1000, 0.0)


def test_chatter_that_goes_with_content_is_forgiven_but_no_more_of_it() -> None:
    guard = AbuseLimits()
    for _ in range(10_000):
        spend(guard, Abuse.CHATTER, 2, 0.0)
        guard.useful()
    with pytest.raises(DenialOfServiceError):
        for _ in range(10_000):
            spend(guard, Abuse.CHATTER, 3, 0.0)
            guard.useful()
