"""Time stamps as sources have them, and as samples need them. Pure: arrival times are arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final

from headrace.media.steering import DRIFT_SHARE, FAR_SECONDS

HELD_MAX_PACKETS = 64
"""Most packets of a track held until their stamps are known: what libav's probing takes in before the first read."""

SENDER_CLOCK_TOLERANCE_SECONDS = FAR_SECONDS
"""How far a camera's clock may be from ours to be believed: beyond it the clock is wrong, and arrival is better."""

STILL_MAX_PACKETS: Final = 64
"""Packets after which a decode time that does not go on is no disorder: the source's clock stands still, and its
frames are counted instead. Pictures are reordered by 16 at most."""

STEP_SECONDS: Final = 0.001
"""Least that a decode time must go on by not to stand still: more than a thousand frames a second has nobody, and a
chunk shall not have any number."""

BACKWARD_SECONDS: Final = 0.5
"""Furthest that a disorder goes back: more is a source that began anew, from where its times go on."""

FRAMES_A_SECOND: Final = 25
"""What is counted by where a source says nothing of its frames' duration."""

WRAP_TICKS: Final = 1 << 32
"""Where time stamps begin again at nothing: RTP's and RTMP's at 32 bits, those of MPEG-TS at twice as much."""

WRAP_NEAR_SECONDS: Final = 10.0
"""How near to a whole number of wraps a step must be to be one."""


CAPTURE_AWAY_SECONDS: Final = 60.0
"""Furthest that a capture time may be from the newest arrival: beyond it the stamps are a mistake."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """When a packet is shown and decoded, in ticks of its track; `None` where the source does not say."""

    pts: int | None
    dts: int | None
    duration: int


class Unwrap:
    """Undoes the wraps of one track's time stamps, so that they go on for as long as the source is read.

    libav undoes one wrap, which for MPEG-TS is enough for a day.

    Args:
        second_ticks: ticks in a second.
    """

    def __init__(self, second_ticks: float) -> None:
        self._near = WRAP_NEAR_SECONDS * second_ticks
        self._offset = 0
        self._last: int | None = None

    def push(self, stamps: Stamps) -> Stamps:
        """Return the stamps of the next packet as they would be without wraps."""
        told = stamps.pts if stamps.dts is None else stamps.dts
        if told is None:
            return stamps
        time = told + self._offset
        if self._last is not None:
            going_on = self._beside(time, self._last)
            self._offset += going_on - time
            time = going_on
        self._last = time
        if stamps.dts is None:
            return replace(stamps, pts=time)
        pts = None if stamps.pts is None else self._beside(stamps.pts + self._offset, time)
        return Stamps(pts, time, stamps.duration)

    def _beside(self, time: int, other: int) -> int:
        """Return a time moved to `other` where whole wraps lie between them, else as it is."""
        if -(WRAP_TICKS >> 1) < time - other < WRAP_TICKS >> 1:
            return time
        moved = time + (other - time + (WRAP_TICKS >> 1)) // WRAP_TICKS * WRAP_TICKS
        return moved if abs(moved - other) <= self._near else time


class Stillness:
    """Notices that a source's clock stands still, or hardly goes on: then its stamps say nothing.

    Args:
        second_ticks: ticks in a second.
    """

    def __init__(self, second_ticks: float) -> None:
        self._step = STEP_SECONDS * second_ticks
        self._backward = BACKWARD_SECONDS * second_ticks
        self._furthest: int | None = None
        self._packets = 0

    def push(self, stamps: Stamps) -> Stamps:
        """Return the next packet's stamps, without its times where the clock has been standing still."""
        told = stamps.pts if stamps.dts is None else stamps.dts
        if told is None:
            return stamps
        if self._furthest is None or told >= self._furthest + self._step:
            self._furthest, self._packets = told, 0
            return stamps
        self._packets += 1
        is_still = self._packets > STILL_MAX_PACKETS
        if self._furthest - told > self._backward:
            self._furthest = told
        elif is_still:
            # From here on it must go on within one packet to be believed again.
            self._furthest = max(self._furthest, told)
        return Stamps(None, None, stamps.duration) if is_still else stamps


class StampRepair:
    """Completes the stamps of one track.

    libav does not know the first packets' decode times of H.264 over RTSP before it has seen how far pictures are
    reordered, and gives the very first one no stamps at all. Such packets are held until the first whole one comes,
    and stamped backwards from it. Later holes are filled from the packet before.

    Args:
        frame_ticks: the nominal duration of a frame, 0 when unknown; taken where a packet has none.
        reorder_frames: how many frames later than decoded a picture may be shown. Where that is none, the decode time
            is the presentation time.
        second_ticks: ticks in a second.
    """

    def __init__(self, frame_ticks: int, reorder_frames: int, second_ticks: float) -> None:
        self._frame_ticks = frame_ticks or max(1, round(second_ticks / FRAMES_A_SECOND))
        self._reorder_frames = reorder_frames
        self._held: list[Stamps] = []
        self._last: Stamps | None = None

    def push(self, stamps: Stamps) -> list[Stamps]:
        """Take the next packet's stamps; return those that are whole now, in order."""
        stamps = self._obvious(stamps)
        if self._last is None and stamps.dts is None and len(self._held) < HELD_MAX_PACKETS:
            self._held.append(stamps)
            return []
        held, self._held = [*self._held, stamps], []
        return [self._complete(one) for one in self._fill_backwards(held)]

    def flush(self) -> list[Stamps]:
        """Return what is still held, as well as can be."""
        held, self._held = self._held, []
        return [self._complete(one) for one in self._fill_backwards(held)]

    def _obvious(self, stamps: Stamps) -> Stamps:
        if stamps.duration <= 0:
            stamps = replace(stamps, duration=self._frame_ticks)
        if stamps.dts is None and stamps.pts is not None and self._reorder_frames == 0:
            return replace(stamps, dts=stamps.pts)
        return stamps

    def _fill_backwards(self, held: list[Stamps]) -> list[Stamps]:
        following = held[-1].dts if held else None
        if following is None:
            return held
        filled = [held[-1]]
        for stamps in reversed(held[:-1]):
            following = stamps.dts if stamps.dts is not None else following - stamps.duration
            filled.append(replace(stamps, dts=following))
        return filled[::-1]

    def _complete(self, stamps: Stamps) -> Stamps:
        dts = stamps.dts
        if dts is None and self._last is not None and self._last.dts is not None:
            dts = self._last.dts + self._last.duration
        elif dts is None:
            dts = stamps.pts or 0
        pts = dts + self._reorder_frames * stamps.duration if stamps.pts is None else stamps.pts
        self._last = Stamps(pts, dts, stamps.duration)
        return self._last


class CaptureClock:
    """Tells when what has a certain media time was captured, from when it arrived or from what the sender says.

    The time a packet takes varies; the least it ever took is the best guess of what they all take. So the offset
    between media time and arrival is its own running minimum, which creeps up as slowly as clocks drift.
    """

    def __init__(self) -> None:
        self._offset: float | None = None
        self._newest = 0.0
        self._utc: float | None = None

    def arrived(self, media_seconds: float, utc: float) -> None:
        """Take note that the packet of a media time arrived at `utc`."""
        offset = utc - media_seconds
        self._utc = utc
        if self._offset is None or abs(offset - self._offset) > SENDER_CLOCK_TOLERANCE_SECONDS:
            # The first packet, or a jump: the source's time line broke, or our clock was set.
            self._offset, self._newest = offset, media_seconds
            return
        passed = max(0.0, media_seconds - self._newest)
        self._newest += passed
        self._offset = min(self._offset + passed * DRIFT_SHARE, offset)

    def captured_us(self, media_seconds: float, sender_us: int | None = None) -> int:
        """Return the capture time in microseconds of UTC.

        Args:
            media_seconds: of the sample.
            sender_us: what the sender says, in the same unit; taken if our clock finds it credible.
        """
        captured = media_seconds + (self._offset or 0.0)
        if self._utc is not None and abs(captured - self._utc) > CAPTURE_AWAY_SECONDS:
            captured = self._utc
        arrival_us = round(captured * 1_000_000)
        if sender_us is not None and abs(sender_us - arrival_us) < SENDER_CLOCK_TOLERANCE_SECONDS * 1_000_000:
            return sender_us
        return arrival_us


class TrackClock:
    """All that is made of one track's time stamps: mended, whole, and known in UTC.

    Args:
        time_base: seconds of a tick.
        frame_seconds: the nominal duration of a frame, 0 when unknown.
        reorder_frames: how many frames later than decoded a picture may be shown.
        delay_seconds: how much later than it came a packet is told of.
    """

    def __init__(
        self, time_base: Fraction, frame_seconds: float, reorder_frames: int, delay_seconds: float = 0.0
    ) -> None:
        second_ticks = time_base.denominator / time_base.numerator
        self._tick = float(time_base)
        self._delay = delay_seconds
        self._unwrap = Unwrap(second_ticks)
        self._stillness = Stillness(second_ticks)
        self._repair = StampRepair(round(frame_seconds * second_ticks), reorder_frames, second_ticks)
        self._capture = CaptureClock()

    def mended(self, stamps: Stamps) -> Stamps:
        """Return a packet's stamps without wraps, and without times that stand still; `arrived` does so itself."""
        return self._stillness.push(self._unwrap.push(stamps))

    def arrived(self, stamps: Stamps, utc: float) -> Stamps:
        """Take note of when a packet came; return its stamps mended."""
        stamps = self.mended(stamps)
        told = stamps.dts if stamps.pts is None else stamps.pts
        if told is not None:
            self._capture.arrived(told * self._tick, utc - self._delay)
        return stamps

    def push(self, stamps: Stamps) -> list[Stamps]:
        """Take the next packet's stamps, mended; return those that are whole now, in order."""
        return self._repair.push(stamps)

    def flush(self) -> list[Stamps]:
        """Return what is still held, as well as can be."""
        return self._repair.flush()

    def captured_us(self, media_seconds: float, sender_us: int | None = None) -> int:
        """Return the capture time of what has a media time, in microseconds of UTC; see `CaptureClock`."""
        return self._capture.captured_us(media_seconds, sender_us)


class PictureWatch:
    """Notices that sound goes on while pictures stopped coming, which for viewers is a broken feed.

    Args:
        stall_seconds: how long that may last.
        now: when the feed was opened, by the monotonic clock.
    """

    def __init__(self, stall_seconds: float, now: float) -> None:
        self._stall_seconds = stall_seconds
        self._picture_at = now

    def is_stalled(self, is_picture: bool, now: float) -> bool:
        """Take note of a packet that came; return whether the last picture is too long ago."""
        if is_picture:
            self._picture_at = now
        return now - self._picture_at > self._stall_seconds
