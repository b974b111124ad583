"""Heartbeat: silence, clock offset, round trip."""

from __future__ import annotations

import pytest

from headrace.relay.heartbeat import OUTSTANDING_MAX, SIGN_OF_LIFE, WINDOW_SAMPLES, Heartbeat
from headrace.wire.relay import Ping, Pong


def answer(ping: Ping, received_us: int, held_us: int = 0) -> Pong:
    return Pong(id=ping.id, sent_us=ping.sent_us, received_us=received_us, answered_us=received_us + held_us)


def ping_at(heartbeat: Heartbeat, now: float) -> Ping:
    ping = heartbeat.beat(now, round(now * 1e6))
    assert isinstance(ping, Ping)
    return ping


def sampled(now: float = 10.0) -> Heartbeat:
    """Return a heartbeat whose window is full, `now` seconds after the last ping."""
    heartbeat = Heartbeat(0.1, 0.4, now - 0.1 * WINDOW_SAMPLES)
    for number in range(WINDOW_SAMPLES + 1):
        at = now - 0.1 * (WINDOW_SAMPLES - number)
        heartbeat.pong(answer(ping_at(heartbeat, at), round(at * 1e6)), at, round(at * 1e6))
        heartbeat.heard(at)
    return heartbeat


def test_pings_leave_at_the_interval_until_the_clock_is_known() -> None:
    """The first at once; once the window is full, each second."""
    heartbeat = Heartbeat(0.1, 0.4, 10.0)
    assert heartbeat.next_timer() == 10.0
    ping_at(heartbeat, 10.0)
    assert heartbeat.beat(10.05, 0) is None
    assert heartbeat.next_timer() == pytest.approx(10.1)
    assert ping_at(heartbeat, 10.1).id == 2
    heartbeat = sampled(10.0)
    for number in range(1, 9):
        assert heartbeat.beat(10.0 + number * 0.125 - 0.01, 0) in (None, SIGN_OF_LIFE)
    ping_at(heartbeat, 11.0)


def test_silence_of_our_own_ends_with_a_sign_of_life() -> None:
    """After one and a quarter intervals; whatever else was said puts it off."""
    heartbeat = sampled(10.0)
    assert heartbeat.next_timer() == pytest.approx(10.125)
    heartbeat.said(10.1)
    assert heartbeat.beat(10.13, 0) is None
    assert heartbeat.next_timer() == pytest.approx(10.225)
    assert heartbeat.beat(10.23, 0) == SIGN_OF_LIFE
    assert heartbeat.beat(10.24, 0) is None


def test_what_is_heard_after_half_an_interval_is_answered_at_once() -> None:
    """So both sides wake together; an answer is not answered, and a ping that is nearly due leaves instead."""
    heartbeat = sampled(10.0)
    assert heartbeat.answer(10.04, 0) is None
    assert heartbeat.answer(10.06, 0) == SIGN_OF_LIFE
    assert heartbeat.answer(10.07, 0) is None
    heartbeat.said(10.9)
    assert isinstance(heartbeat.answer(10.96, 0), Ping)


def test_a_sign_of_life_says_nothing_of_the_clock() -> None:
    """It answers no ping."""
    assert Heartbeat(0.1, 0.4, 10.0).pong(SIGN_OF_LIFE, 10.0, 0) is None


def test_silence_is_noticed_at_the_timeout() -> None:
    """Anything heard puts it off."""
    heartbeat = Heartbeat(0.1, 0.4, 10.0)
    heartbeat.heard(10.25)
    for now in (10.0, 10.125, 10.25, 10.375, 10.5, 10.625):
        assert not heartbeat.is_silent(now)
        assert heartbeat.beat(now, 0) is not None
    assert heartbeat.next_timer() == pytest.approx(10.65)
    assert heartbeat.is_silent(10.66)


def test_a_process_that_stood_still_gives_its_peer_one_more_interval() -> None:
    """What the peer sent meanwhile may still wait in the socket."""
    heartbeat = Heartbeat(0.1, 0.4, 10.0)
    ping_at(heartbeat, 10.0)
    assert not heartbeat.is_silent(20.0)
    ping_at(heartbeat, 20.0)
    assert heartbeat.next_timer() == pytest.approx(20.1)
    assert heartbeat.is_silent(20.11)


def test_standing_still_again_and_again_hides_no_dead_peer() -> None:
    """The pardon is given once; by the next time the socket was read."""
    heartbeat = Heartbeat(0.1, 0.4, 10.0)
    ping_at(heartbeat, 10.0)
    assert not heartbeat.is_silent(20.0)
    assert heartbeat.is_silent(30.0)
    heartbeat.heard(30.0)
    assert not heartbeat.is_silent(40.0)


def test_offset_and_round_trip_come_from_the_four_stamps() -> None:
    """The peer's clock is 5 s ahead, the way takes 20 ms there and 20 ms back, the answer 3 ms."""
    heartbeat = Heartbeat(0.1, 0.4, 10.0)
    ping = ping_at(heartbeat, 10.0)
    sample = heartbeat.pong(answer(ping, 15_020_000, 3_000), 10.043, 10_043_000)
    assert sample is not None
    assert sample.round_trip == pytest.approx(0.040)
    assert sample.offset == pytest.approx(5.0)
    assert heartbeat.best == sample


def test_the_sample_with_the_shortest_round_trip_is_believed() -> None:
    """A queue on one way of a later one shifts its offset, not ours."""
    heartbeat = Heartbeat(0.1, 0.4, 10.0)
    quick = heartbeat.pong(answer(ping_at(heartbeat, 10.0), 15_001_000), 10.002, 10_002_000)
    slow = heartbeat.pong(answer(ping_at(heartbeat, 10.1), 15_101_000), 10.3, 10_300_000)
    assert slow is not None
    assert quick is not None
    assert slow.offset != pytest.approx(quick.offset)
    assert heartbeat.best == quick


def test_old_samples_leave_the_window() -> None:
    """A clock that was stepped is believed again after some seconds."""
    heartbeat = Heartbeat(0.1, 0.4, 0.0)
    heartbeat.pong(answer(ping_at(heartbeat, 0.0), 1_000), 0.002, 2_000)
    for number in range(1, WINDOW_SAMPLES + 1):
        now = number / 8
        received = round(now * 1e6) + 60_000_000 + 5_000
        heartbeat.pong(answer(ping_at(heartbeat, now), received), now + 0.01, round((now + 0.01) * 1e6))
    assert heartbeat.best is not None
    assert heartbeat.best.offset == pytest.approx(60.0)


def test_pongs_that_answer_nothing_are_ignored() -> None:
    """An unknown id, an answer twice, or one so late that its ping was forgotten."""
    heartbeat = Heartbeat(0.1, 0.4, 0.0)
    ping = ping_at(heartbeat, 0.0)
    assert heartbeat.pong(Pong(id=99, sent_us=0, received_us=0, answered_us=0), 0.1, 0) is None
    assert heartbeat.pong(answer(ping, 0), 0.1, 0) is not None
    assert heartbeat.pong(answer(ping, 0), 0.2, 0) is None
    early = ping_at(heartbeat, 1.0)
    for number in range(OUTSTANDING_MAX):
        ping_at(heartbeat, 2.0 + number)
    assert heartbeat.pong(answer(early, 0), 99.0, 0) is None


def test_stamps_that_cannot_be_do_not_give_negative_times() -> None:
    """A peer that says it answered before it received, or held the answer longer than the trip."""
    heartbeat = Heartbeat(0.1, 0.4, 0.0)
    first = heartbeat.pong(answer(ping_at(heartbeat, 0.0), 5_000_000, -3_000_000), 0.01, 10_000)
    second = heartbeat.pong(answer(ping_at(heartbeat, 0.1), 0, 9_000_000), 0.11, 110_000)
    assert first is not None
    assert second is not None
    assert [first.round_trip, second.round_trip] == pytest.approx([0.01, 0.0])
