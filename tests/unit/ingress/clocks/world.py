"""A simulated source: packets with their stamps and arrival times, through the clock of each track, as samples."""

from __future__ import annotations

import itertools
import random
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from headrace.media.samples import Sample
from headrace.wire.stream import Track
from headrace_ingress.source import Note, SourceEnded
from headrace_ingress.timing import Stamps, TrackClock
from unit.ingress.clocks.scenarios import MPEG_TS, Scenario

UTC = 1_763_600_000.0
"""Seconds since 1970 at which sources begin."""

NETWORK_SECONDS = 0.02
STALL_SECONDS = 4.0
SLICE_SECONDS = 1.0
"""How much is read at once."""

FRAME = 1024
"""Samples in a frame of sound."""

IDENTITY = struct.Struct(">dd")
"""What a sample holds: when it was shown by the source's clock, wraps undone, and the true time."""


class SimulatedClock:
    """Our own clock, which is told what time it is and may be set."""

    def __init__(self, steps: Sequence[tuple[float, float]]) -> None:
        self._steps = steps
        self.now = 0.0

    def at(self, true: float) -> float:
        """Return UTC as we have it at a true time."""
        return UTC + true + sum(by for when, by in self._steps if true >= when)

    def monotonic(self) -> float:
        """See `Clock`."""
        return self.now

    def utc(self) -> float:
        """See `Clock`."""
        return self.at(self.now)


@dataclass(slots=True)
class Packet:
    """One packet: when it was sent and when it comes, its stamps in ticks with wraps, and what it is."""

    sent: float
    arrival: float
    stamps: Stamps
    keyframe: bool
    identity: bytes


class SimulatedTrack:
    """One track's packets become samples as `TrackFeed` makes them, by the clock of the track."""

    def __init__(self, track: Track, tick: Fraction, frame_seconds: float, reorder: int) -> None:
        self.track = track
        self._scale = tick * track.timescale
        self._tick = float(tick)
        self._pending: deque[Packet] = deque()
        self.clock = TrackClock(tick, frame_seconds, reorder)

    def arrived(self, packet: Packet, utc: float) -> None:
        """Take note of when a packet came."""
        stamps = self.clock.arrived(packet.stamps, utc)
        packet.stamps = Stamps(stamps.pts, stamps.dts, packet.stamps.duration)

    def push(self, packet: Packet) -> list[Sample]:
        """Return the samples that are whole now."""
        self._pending.append(packet)
        return [self._sample(whole, self._pending.popleft()) for whole in self.clock.push(packet.stamps)]

    def _sample(self, whole: Stamps, packet: Packet) -> Sample:
        assert whole.pts is not None
        assert whole.dts is not None
        pts, dts, duration = (round(ticks * self._scale) for ticks in (whole.pts, whole.dts, whole.duration))
        captured = self.clock.captured_us(whole.pts * self._tick)
        if self.track.kind == "audio":
            pts, duration = dts, FRAME
        return Sample(self.track.track, pts, dts, duration, packet.keyframe, packet.identity, captured)


class SimulatedSource:
    """A source of `hours`, for a `Reader`."""

    def __init__(self, scenario: Scenario, hours: float, seed: int, clock: SimulatedClock) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.keeps = False
        self._scenario = scenario
        self._seconds = hours * 3600
        self._clock = clock
        self._chance = random.Random(seed)
        self._header = -1
        self._at = 0.0
        self._waiting: list[tuple[Packet, SimulatedTrack]] = []
        self.feeds = self._feeds()
        self._packets = [(feed, self._of(feed)) for feed in self.feeds]
        self._next = [next(packets) for _, packets in self._packets]

    def open(self, note: Note) -> None:
        """See `Source`."""
        self._describe()

    def close(self) -> None:
        """See `Source`."""

    def read(self) -> list[Sample]:
        """Return the samples of a second."""
        if self._at >= self._seconds:
            raise SourceEnded
        self._at += SLICE_SECONDS
        self._describe()
        due = self._due()
        for packet, feed in due:
            feed.arrived(packet, self._clock.at(packet.arrival))
        self._clock.now = self._at
        return [sample for packet, feed in due for sample in feed.push(packet)]

    def _describe(self) -> None:
        number = int(self._at // self._scenario.header_every) if self._scenario.header_every else 0
        if number != self._header:
            self._header = number
            # Another object means another header, whatever is in it.
            self.tracks = tuple(feed.track for feed in self.feeds)

    def _feeds(self) -> list[SimulatedTrack]:
        scenario = self._scenario
        rate = scenario.frame_rate
        picture = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"x", frame_rate=rate)
        reorder = 1 if scenario.reorders and scenario.declared else 0
        feeds = [SimulatedTrack(picture, scenario.tick, 1 / rate if rate else 0.0, reorder)]
        if scenario.sound:
            rate = scenario.sound_rate
            sound = Track(
                track=2, kind="audio", codec="mp4a.40.2", timescale=rate, header=b"x", sample_rate=rate, channels=2
            )
            feeds.append(SimulatedTrack(sound, self._tick_of(sound), FRAME / rate, 0))
        return feeds

    def _tick_of(self, track: Track) -> Fraction:
        """Containers have one clock for all tracks, or RTP's: that of the sound."""
        scenario = self._scenario
        if track.kind == "video" or scenario.tick > MPEG_TS or scenario.wrap_bits:
            return scenario.tick
        return Fraction(1, scenario.sound_rate)

    def _due(self) -> list[tuple[Packet, SimulatedTrack]]:
        """Return what arrives until now, in the order of arrival."""
        for index, (feed, packets) in enumerate(self._packets):
            while self._next[index].arrival < self._at + 1.0:
                self._waiting.append((self._next[index], feed))
                self._next[index] = next(packets)
        self._waiting.sort(key=lambda one: (one[0].arrival, one[0].sent))
        count = sum(packet.arrival <= self._at for packet, _ in self._waiting)
        due, self._waiting = self._waiting[:count], self._waiting[count:]
        return due

    # -- packets --------------------------------------------------------------------------------------------------

    def _of(self, feed: SimulatedTrack) -> Iterator[Packet]:
        made = self._pictures() if feed.track.kind == "video" else self._sounds()
        tick = float(self._tick_of(feed.track))
        arrived = 0.0
        for number, (dts, pts, duration, keyframe, ready) in enumerate(made):
            shift = self._jumped(ready)
            arrived = max(arrived, ready + NETWORK_SECONDS + self._chance.expovariate(1 / self._scenario.jitter))
            arrived = max(arrived, self._stalled(ready))
            true = (pts - self._scenario.start) / self._scenario.rate
            stamps = self._stamped(number, round((pts + shift) / tick), round((dts + shift) / tick), duration / tick)
            yield Packet(ready, arrived, stamps, keyframe, IDENTITY.pack(pts + shift, true))

    def _stamped(self, number: int, pts: int, dts: int, duration: float) -> Stamps:
        scenario, chance = self._scenario, self._chance
        if scenario.stands_still:
            return Stamps(0, 0, round(duration))
        if number < scenario.first_bare:
            return Stamps(None, None, round(duration))
        if scenario.wrap_bits:
            pts, dts = pts % (1 << scenario.wrap_bits), dts % (1 << scenario.wrap_bits)
        has_pts, has_dts = chance.random() >= scenario.no_pts, chance.random() >= scenario.no_dts
        return Stamps(pts if has_pts else None, dts if has_dts else None, round(duration))

    def _jumped(self, true: float) -> float:
        """Return by how much the source's clock has been moved."""
        scenario = self._scenario
        if not scenario.jump_every:
            return 0.0
        return sum(itertools.islice(itertools.cycle(scenario.jump_by), int(true // scenario.jump_every)))

    def _stalled(self, true: float) -> float:
        """Return when what is sent at a true time gets through at the earliest."""
        every = self._scenario.network_stall_every
        if not every or true % every > STALL_SECONDS or true < every:
            return 0.0
        return true - true % every + STALL_SECONDS

    def _pictures(self) -> Iterator[tuple[float, float, float, bool, float]]:
        """Yield decode time, presentation time, duration, whether it is a keyframe, and the true time it was sent."""
        scenario, chance = self._scenario, self._chance
        media, key_at = scenario.start, scenario.start
        frame = 1 / scenario.frame_rate if scenario.frame_rate else 0.04
        held: tuple[float, float, float, bool, float] | None = None
        for number in itertools.count():
            duration = frame if scenario.frame_rate else chance.uniform(0.01, 0.12)
            place = number % 3
            # Display order 0 3 1 2 6 4 5: two B-frames before each picture that they need.
            shown = media + ((2 if place == 1 else -1) * frame if scenario.reorders and number else 0.0)
            true = (media - scenario.start) / scenario.rate
            may = true >= scenario.late_header and not scenario.keyless[0] <= true < scenario.keyless[1]
            keyframe = may and media >= key_at - frame / 2 and (not scenario.reorders or place == 1 or number == 0)
            if keyframe:
                key_at = media + scenario.gop
            early = frame if scenario.reorders else 0.0
            made = media - early, shown, 0.0 if not scenario.frame_rate else duration, keyframe, true + duration
            if held is not None:
                yield made
                yield held
                held = None
            elif not keyframe and chance.random() < scenario.swapped:
                held = made
            else:
                yield made
            media += duration

    def _sounds(self) -> Iterator[tuple[float, float, float, bool, float]]:
        scenario = self._scenario
        frame = FRAME / scenario.sound_rate
        for number in itertools.count():
            media = scenario.start + number * frame
            true = number * frame / scenario.rate
            if _turn(true, scenario.sound_gap_every, scenario.sound_gap, None):
                continue
            early = _turn(true, scenario.sound_early_every, scenario.sound_early, 1.0)
            yield media - early, media - early, frame, True, true + frame


def _turn(true: float, every: float, lengths: Sequence[float], span: float | None) -> float:
    """Return the length whose turn it is, 0 while it is not; it lasts for `span`, or for itself."""
    if not every or true < every:
        return 0.0
    length = lengths[int(true // every) % len(lengths)]
    return length if true % every < (length if span is None else span) else 0.0
