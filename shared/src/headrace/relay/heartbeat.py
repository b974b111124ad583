"""Heartbeat: is the peer there, how far away is it, and what does its clock say. Pure: time is an argument.

Anything at all that arrives proves that the peer lives, so media are a heartbeat; a side that has nothing to say sends
a pong that answers nothing. Whoever hears something and has been silent for half an interval says so in the same
moment: waking up costs more than the message, so both sides of a quiet link wake together, and one that receives media
sends its heartbeats with them. Pings are for the clock: the four stamps of ping and pong give round trip and offset as
in NTP (RFC 5905, section 8). Queues only ever lengthen a round trip, so the sample with the shortest one in a window is
the one to believe.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from headrace.wire.relay import Ping, Pong

SILENCE_MAX = 1.25
"""Longest silence of a side, in intervals: more than one, so that media at the interval come before its timer."""

SILENCE_LEAST = 0.5
"""Silence, in intervals, after which something heard is answered by a sign of life."""

SAMPLE_SECONDS = 1.0
"""Between two pings, once the window is full; before that, an interval."""

WINDOW_SAMPLES = 8
"""Samples to choose the best from: those of eight seconds, within which clocks drift by tens of microseconds."""

SIGN_OF_LIFE = Pong(id=0, sent_us=0, received_us=0, answered_us=0)
"""A pong that answers nothing; pings count from 1."""

OUTSTANDING_MAX = 64
"""Most pings that wait for their pong; older ones are forgotten, their answer comes too late to say anything."""

PINGS_PER_SECOND = 500
"""Most pings a second that are answered for long: five times the shortest interval that can be set, and too few to keep
a core from its work."""

PINGS_BURST = 1000
"""Most pings at once: what waited while this side stood still, for ten seconds of the shortest interval."""


@dataclass(frozen=True, slots=True)
class ClockSample:
    """One answered ping, in seconds; `offset` is the peer's UTC less ours."""

    round_trip: float
    offset: float


class Heartbeat:
    """The timers and clock samples of one link.

    Attributes:
        interval: of the heartbeat, in seconds.
        timeout: seconds of silence after which the peer counts as gone.
    """

    def __init__(self, interval: float, timeout: float, now: float) -> None:
        self.interval = interval
        self.timeout = timeout
        self._heard_at = now
        self._said_at = now
        self._pardoned = False
        self._ping_at = now
        self._next_id = 0
        self._sent_at: dict[int, float] = {}
        self._samples: deque[ClockSample] = deque(maxlen=WINDOW_SAMPLES)
        self._best: ClockSample | None = None
        self._pings_left = float(PINGS_BURST)
        self._pinged_at = now

    def heard(self, now: float) -> None:
        """Something arrived from the peer, be it part of a message."""
        self._heard_at = now
        self._pardoned = False

    def said(self, now: float) -> None:
        """Something was sent to the peer."""
        self._said_at = now

    def next_timer(self) -> float:
        """Return when `beat` wants to be called."""
        return min(self._ping_at, self._said_at + SILENCE_MAX * self.interval, self._heard_at + self.timeout)

    def is_silent(self, now: float) -> bool:
        """Return whether the peer was silent for too long.

        When we are called late by more than an interval it was our own process that stood still; what the peer sent
        meanwhile may wait in the socket, so it is given one more interval, once.
        """
        if now < self._heard_at + self.timeout:
            return False
        late = now - self.next_timer() > self.interval
        if late and not self._pardoned:
            self._pardoned = True
            self._heard_at = now + self.interval - self.timeout
            return False
        return True

    def beat(self, now: float, utc_us: int) -> Ping | Pong | None:
        """Return the ping or the sign of life that is due, if one is."""
        if now >= self._ping_at:
            return self._ping(now, utc_us)
        if now >= self._said_at + SILENCE_MAX * self.interval:
            self._said_at = now
            return SIGN_OF_LIFE
        return None

    def answer(self, now: float, utc_us: int) -> Ping | Pong | None:
        """Return what to say because something was heard, if it is about time."""
        if now < self._said_at + SILENCE_LEAST * self.interval:
            return None
        if now >= self._ping_at - SILENCE_LEAST * self.interval:
            return self._ping(now, utc_us)
        self._said_at = now
        return SIGN_OF_LIFE

    def _ping(self, now: float, utc_us: int) -> Ping:
        is_full = len(self._samples) == WINDOW_SAMPLES
        self._ping_at = now + (max(self.interval, SAMPLE_SECONDS) if is_full else self.interval)
        self._said_at = now
        self._next_id += 1
        self._sent_at[self._next_id] = now
        if len(self._sent_at) > OUTSTANDING_MAX:
            del self._sent_at[next(iter(self._sent_at))]
        return Ping(id=self._next_id, sent_us=utc_us)

    def may_ping(self, now: float) -> bool:
        """Count a ping of the peer's; return whether it may still send so many."""
        grown = max(0.0, now - self._pinged_at) * PINGS_PER_SECOND
        self._pings_left = min(float(PINGS_BURST), self._pings_left + grown) - 1
        self._pinged_at = now
        return self._pings_left >= 0

    def pong(self, pong: Pong, now: float, utc_us: int) -> ClockSample | None:
        """Take the answer to a ping; return its sample, or `None` when that ping is unknown or forgotten."""
        sent_at = self._sent_at.pop(pong.id, None)
        if sent_at is None:
            return None
        held = max(0, pong.answered_us - pong.received_us) / 1e6
        there = (pong.received_us - pong.sent_us) / 1e6
        back = (pong.answered_us - utc_us) / 1e6
        sample = ClockSample(max(0.0, now - sent_at - held), (there + back) / 2)
        self._samples.append(sample)
        self._best = min(self._samples, key=lambda one: one.round_trip)
        return sample

    @property
    def best(self) -> ClockSample | None:
        """The sample with the shortest round trip of the window; `None` before the first pong."""
        return self._best
