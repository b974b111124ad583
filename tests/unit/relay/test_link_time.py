"""What a link makes of time: pings, clocks, silence, timers; no sockets."""

from __future__ import annotations

import pytest

from headrace.relay import events
from headrace.relay.protocol import LinkState, Timing
from headrace.wire import relay as wire
from unit.relay.pair import chunk_message, opened_pair


def test_each_side_pings_at_the_interval_and_is_answered_at_once() -> None:
    """Offset and round trip are known after one exchange."""
    pair = opened_pair(skew_us=7_000_000)
    pair.delay = 0.015
    pair.tick(0.0)
    pair.pump()
    sample = pair.got("a", events.ClockSampled)[0].sample
    assert sample.round_trip == pytest.approx(0.030)
    assert sample.offset == pytest.approx(7.0)
    assert pair.a.clock == sample
    assert pair.b.clock is not None
    assert pair.b.clock.offset == pytest.approx(-7.0)


def test_transit_time_is_told_in_our_own_clock() -> None:
    """Whatever the peer's clock says."""
    pair = opened_pair(skew_us=7_000_000)
    assert pair.a.transit_seconds(0, 0) is None
    pair.tick(0.0)
    pair.pump()
    left_b_us = pair.utc_us + pair.skew_us
    pair.now += 0.040
    assert pair.a.transit_seconds(left_b_us, pair.utc_us) == pytest.approx(0.040)
    assert pair.a.transit_seconds(left_b_us + 10**9, pair.utc_us) == 0.0


def test_silence_ends_the_link() -> None:
    """At the time-out, not before."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    for _ in range(3):
        pair.tick(0.1)
    assert pair.a.state is LinkState.OPEN
    pair.tick(0.1)
    assert pair.got("a", events.LinkFailed)[0].code == "heartbeat_timeout"


def test_anything_heard_keeps_the_link() -> None:
    """A chunk, or a part of one that takes long to arrive."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    for number in range(20):
        pair.tick(0.1)
        if number % 2:
            pair.a.heard(pair.now)
        else:
            pair.a.receive(chunk_message(77), pair.now, 0)
    assert pair.a.state is LinkState.OPEN
    assert pair.b.state is LinkState.CLOSED


def test_timers_are_data() -> None:
    """Following `next_timer` alone gives ten pings a second, as long as none is answered."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    pings = 0
    end = pair.now + 1.0
    while True:
        due = pair.a.next_timer()
        assert due is not None
        if due > end:
            break
        pair.now = max(pair.now, due)
        pair.a.handle_timer(pair.now, pair.utc_us)
        pings += len(pair.a.data_to_send())
        pair.a.heard(pair.now)
    assert 9 <= pings <= 11


def test_media_are_a_heartbeat() -> None:
    """Who sends chunks says nothing else but a ping each second; who receives them says so with them."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    for _ in range(20):  # until both know the clock
        pair.tick(0.1)
        pair.pump()
    said: dict[str, list[int]] = {"a": [], "b": []}
    for _ in range(20):
        pair.tick(0.1)
        pair.a.said(pair.now)
        pair.b.receive(chunk_message(77), pair.now, pair.utc_us)
        for name, side, other in (("a", pair.a, pair.b), ("b", pair.b, pair.a)):
            for message in side.data_to_send():
                side.said(pair.now)
                said[name].append(message[0])
                other.receive(message, pair.now, pair.utc_us)
    assert said["a"].count(wire.Ping.type) <= 3
    assert len(said["a"]) <= 8
    assert 18 <= len(said["b"]) <= 22
    assert pair.a.state is pair.b.state is LinkState.OPEN


def test_a_quiet_link_has_one_message_of_each_side_in_an_interval() -> None:
    """Neither answers the other's answer."""
    pair = opened_pair(timing=Timing(heartbeat=0.1, timeout=0.4))
    for _ in range(20):
        pair.tick(0.1)
        pair.pump()
    told = 0
    for _ in range(400):
        pair.tick(0.01)
        to_b, to_a = pair.a.data_to_send(), pair.b.data_to_send()
        while to_a or to_b:
            told += len(to_a) + len(to_b)
            for message in to_b:
                pair.a.said(pair.now)
                pair.b.receive(message, pair.now, pair.utc_us)
            for message in to_a:
                pair.b.said(pair.now)
                pair.a.receive(message, pair.now, pair.utc_us)
            to_b, to_a = pair.a.data_to_send(), pair.b.data_to_send()
    assert 60 <= told <= 90
    assert pair.a.state is pair.b.state is LinkState.OPEN


def test_a_timer_that_fires_early_does_nothing() -> None:
    """The shell may arm one for several."""
    pair = opened_pair()
    pair.tick(0.0)
    pair.pump()
    pair.a.handle_timer(pair.now + 0.01, 0)
    assert pair.a.data_to_send() == []
