"""Beats: what is done now and then is done together."""

from __future__ import annotations

import asyncio

import pytest

from headrace.clock import next_beat, seconds_to_beat, until_beat


@pytest.mark.parametrize("now", [0.0, 0.1, 99.99, 100.0, 12_345.678])
@pytest.mark.parametrize("seconds", [0.05, 0.25, 0.5, 1.0, 2.0])
def test_beats_are_multiples_and_none_is_too_near(now: float, seconds: float) -> None:
    """A quarter of an interval away at least: who is just late or early skips none and has none twice."""
    wait = seconds_to_beat(now, seconds, 0.3)
    assert seconds / 4 <= wait <= seconds * 1.25
    beats = (now + wait + 0.3) / seconds
    assert beats == pytest.approx(round(beats))


async def test_longer_beats_fall_on_shorter_ones() -> None:
    """So that they share a turn of the event loop."""
    loop = asyncio.get_running_loop()
    short, long = loop.time() + until_beat(0.25), loop.time() + until_beat(1.0)
    apart = (long - short) / 0.25
    assert apart == pytest.approx(round(apart), abs=0.1)


async def test_a_beat_is_waited_for() -> None:
    """And tells how late it is."""
    began = asyncio.get_running_loop().time()
    late = await next_beat(0.02)
    assert asyncio.get_running_loop().time() - began >= 0.005
    assert 0.0 <= late < 5.0
