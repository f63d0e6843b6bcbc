from __future__ import annotations

from pog.http2.keepalive import Keepalive, Verdict


def test_silence_is_probed_and_an_unanswered_probe_is_the_end() -> None:
    watch = Keepalive(30.0, 15.0, now=100.0)
    assert watch.check(129.9, in_use=True) is Verdict.FINE
    assert watch.next_check(120.0) == 10.0
    assert watch.check(130.0, in_use=True) is Verdict.PROBE
    watch.probed(130.0)
    assert watch.next_check(130.0) == 15.0
    assert watch.check(144.9, in_use=True) is Verdict.FINE
    assert watch.check(145.0, in_use=True) is Verdict.DEAD


def test_anything_received_is_a_sign_of_life() -> None:
    watch = Keepalive(30.0, 15.0, now=0.0)
    watch.probed(30.0)
    watch.received_at = 40.0
    assert watch.check(50.0, in_use=True) is Verdict.FINE
    assert watch.check(55.0, in_use=True) is Verdict.DEAD
    watch.answered(54.0)
    assert watch.check(55.0, in_use=True) is Verdict.FINE


def test_a_connection_without_streams_is_left_alone() -> None:
    watch = Keepalive(30.0, 15.0, now=0.0)
    assert watch.check(1000.0, in_use=False) is Verdict.FINE
    assert watch.silent(1000.0)


def test_a_connection_that_talks_is_not_probed() -> None:
    watch = Keepalive(30.0, 15.0, now=0.0)
    for now in range(0, 1000, 20):
        watch.received_at = float(now)
        assert watch.check(now + 19.0, in_use=True) is Verdict.FINE


def test_it_can_be_switched_off() -> None:
    watch = Keepalive(0.0, 15.0, now=0.0)
    assert not watch.silent(1e9)
    assert watch.check(1e9, in_use=True) is Verdict.FINE


def test_the_shortest_round_trip_of_late_counts() -> None:
    watch = Keepalive(30.0, 15.0, now=0.0)
    assert watch.wants_rtt(0.0)
    for at, rtt in [(1.0, 0.050), (3.0, 0.080), (5.0, 0.040), (7.0, 0.300)]:
        watch.probed(at)
        assert not watch.wants_rtt(at)
        watch.answered(at + rtt)
    assert watch.rtt is not None
    assert abs(watch.rtt - 0.040) < 1e-9
    watch.probed(60.0)
    watch.answered(60.2)
    assert abs(watch.rtt - 0.2) < 1e-9


def test_the_round_trip_is_measured_once_a_second_whatever_comes_out() -> None:
    watch = Keepalive(30.0, 15.0, now=0.0)
    watch.measured(0.001, 0.0)
    asked = 0
    for step in range(10_000):
        now = step * 0.001
        if watch.wants_rtt(now):
            asked += 1
            watch.probed(now)
            watch.answered(now + 0.0015)
    assert 8 <= asked <= 10


def test_an_answer_to_nothing_measures_nothing() -> None:
    watch = Keepalive(30.0, 15.0, now=0.0)
    watch.answered(5.0)
    assert watch.rtt is None
