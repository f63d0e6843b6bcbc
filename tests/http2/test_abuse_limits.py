from __future__ import annotations

import pytest
from h2.errors import ErrorCodes
from h2.exceptions import DenialOfServiceError

from pog.http2.abuse_limits import Abuse, AbuseLimits


def spend(limits: AbuseLimits, kind: Abuse, count: int, now: float) -> None:
    for _ in range(count):
        limits.spend(kind, now)


BURSTS = {Abuse.RAPID_RESET: 1000, Abuse.FIELDS: 80_000, Abuse.CHATTER: 2000, Abuse.STRAY: 1000, Abuse.SETTINGS: 100}
BY_STREAMS = [Abuse.RAPID_RESET, Abuse.FIELDS]
BY_FRAMES = [Abuse.CHATTER, Abuse.STRAY, Abuse.SETTINGS]


@pytest.mark.parametrize("kind", BY_FRAMES)
def test_a_burst_of_frames_is_allowed_and_a_flood_is_not(kind: Abuse) -> None:
    limits = AbuseLimits()
    spend(limits, kind, BURSTS[kind], 5.0)
    assert not limits.refuses(5.0)
    with pytest.raises(DenialOfServiceError) as caught:
        spend(limits, kind, 1, 5.0)
    assert caught.value.error_code == ErrorCodes.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("kind", BY_STREAMS)
def test_after_a_burst_by_streams_no_more_are_taken_for_a_while(kind: Abuse) -> None:
    limits = AbuseLimits()
    limits.spend(kind, 5.0, BURSTS[kind])
    assert not limits.refuses(5.0)
    limits.spend(kind, 5.0)
    assert limits.refuses(5.0)
    spend(limits, kind, 5000, 5.0)
    assert limits.refuses(5.1)
    assert not limits.refuses(6.0)


@pytest.mark.parametrize("kind", BY_STREAMS)
def test_a_peer_that_goes_on_regardless_loses_the_connection(kind: Abuse) -> None:
    limits = AbuseLimits()
    with pytest.raises(DenialOfServiceError):
        for tenth in range(100):
            now = tenth / 10
            limits.refuses(now)
            limits.spend(kind, now, BURSTS[kind])
    assert 5.0 < now <= 5.2


@pytest.mark.parametrize("kind", BY_STREAMS)
def test_a_peer_that_calms_down_is_forgiven(kind: Abuse) -> None:
    limits = AbuseLimits()
    for burst in range(20):
        limits.spend(kind, burst * 3.0, BURSTS[kind] * 0.6)
        limits.spend(kind, burst * 3.0, BURSTS[kind] * 0.6)
        assert not limits.refuses(burst * 3.0 + 2.9)


@pytest.mark.parametrize("kind", Abuse)
def test_what_comes_slowly_never_adds_up(kind: Abuse) -> None:
    limits = AbuseLimits()
    for step in range(20_000):
        limits.spend(kind, step * 10 / BURSTS[kind])
        assert not limits.refuses(step * 10 / BURSTS[kind])


def test_kinds_are_counted_apart() -> None:
    limits = AbuseLimits()
    spend(limits, Abuse.RAPID_RESET, 1000, 0.0)
    spend(limits, Abuse.STRAY, 1000, 0.0)
    spend(limits, Abuse.CHATTER, 2000, 0.0)
    assert not limits.refuses(0.0)


def test_chatter_that_goes_with_content_is_forgiven_but_no_more_of_it() -> None:
    limits = AbuseLimits()
    for _ in range(10_000):
        spend(limits, Abuse.CHATTER, 2, 0.0)
        limits.useful()
    with pytest.raises(DenialOfServiceError):
        for _ in range(10_000):
            spend(limits, Abuse.CHATTER, 3, 0.0)
            limits.useful()
