"""Time stamps as sources have them, and as samples need them. Pure: arrival times are arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace

HELD_MAX_PACKETS = 64
"""Most packets of a track held until their stamps are known: what libav's probing takes in before the first read."""

SENDER_CLOCK_TOLERANCE_SECONDS = 2.0
"""How far a camera's clock may be from ours to be believed: beyond it the clock is wrong, and arrival is better."""

DRIFT_SHARE = 0.0005
"""How fast the least delay is forgotten: half a millisecond each second, five times a bad crystal's drift."""


@dataclass(frozen=True, slots=True)
class Stamps:
    """When a packet is shown and decoded, in ticks of its track; `None` where the source does not say."""

    pts: int | None
    dts: int | None
    duration: int


class StampRepair:
    """Completes the stamps of one track.

    libav does not know the first packets' decode times of H.264 over RTSP before it has seen how far pictures are
    reordered, and gives the very first one no stamps at all. Such packets are held until the first whole one comes,
    and stamped backwards from it. Later holes are filled from the packet before.

    Args:
        frame_ticks: the nominal duration of a frame, 0 when unknown; taken where a packet has none.
        reorder_frames: how many frames later than decoded a picture may be shown. Where that is none, the decode time
            is the presentation time.
    """

    def __init__(self, frame_ticks: int, reorder_frames: int) -> None:
        self._frame_ticks = frame_ticks
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

    def arrived(self, media_seconds: float, utc: float) -> None:
        """Take note that the packet of a media time arrived at `utc`."""
        offset = utc - media_seconds
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
        arrival_us = round((media_seconds + (self._offset or 0.0)) * 1_000_000)
        if sender_us is not None and abs(sender_us - arrival_us) < SENDER_CLOCK_TOLERANCE_SECONDS * 1_000_000:
            return sender_us
        return arrival_us


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
