"""The packager: samples of a source in, chunks with their identity out (docs/protocol.md, section 2).

Theory of operation
-------------------
The **lead** track decides: the first video track, or the first track of a stream without video. An epoch begins with
the lead's first random access point, whose time becomes the epoch's anchor; one mapping from the source's clock to the
stream's timeline serves all tracks, so they stay in sync to the tick. What belongs before it is dropped.

A **segment** ends at the lead's first random access point from `segment_seconds` on (half a frame early is near
enough), and without one when it would grow beyond `segment_max_seconds`. Every other track, a **follower**, ends its
segment at the frame border nearest to that time. To know on which side a frame belongs, followers are held until the
lead has passed them, but for no more than `hold_seconds`; a follower that has nothing for that long after a cut has
its segment closed without it. If the lead is silent, followers go on after `hold_seconds` and segments are cut by
`segment_max_seconds` alone.

A segment's end is told by its last chunk with media where it is known in time, else by a chunk without media, which
stays in the part of the chunk before it. A track that has had no media yet gets such chunks at the time of the cut;
its decode times begin with its first sample.
"""

from __future__ import annotations

from fractions import Fraction

from headrace.media.samples import EpochStart, PackagerOptions, Sample
from headrace.media.track_writer import TrackWriter
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track

__all__ = ["EpochStart", "Packager", "PackagerOptions", "Sample", "TimelineBroken"]

BACKWARD_MAX_SECONDS = 0.5
"""Furthest that a source's decode times may step back before it counts as restarted; less is a disorder that
composition offsets carry."""

FORWARD_MAX_SECONDS = 10.0
"""Furthest that they may step forward; whoever pauses for longer begins a new epoch, with a jump where time passed."""

HELD_MAX_SAMPLES = 1024
"""Most samples of one track that wait for video, whatever their times: `hold_seconds` of the shortest Opus frames is
a fifth of it."""


class TimelineBroken(Exception):
    """The source's times jumped, as they do when it was restarted: end this epoch and begin another.

    The sample was not taken; `finish` may be called, and the sample be given to the next packager.

    Attributes:
        track: whose times jumped.
        seconds: by how much, negative for backwards.
    """

    def __init__(self, track: int, seconds: float) -> None:
        super().__init__(track, seconds)
        self.track = track
        self.seconds = seconds

    def __str__(self) -> str:
        return f"decode times of track {self.track} jumped by {self.seconds:+.3f} s"


class Packager:
    """Cuts one epoch of one stream into chunks, parts and segments.

    Attributes:
        dropped: samples left out so far: before the first random access point, and audio that overlapped.
    """

    def __init__(self, tracks: tuple[Track, ...], start: EpochStart, options: PackagerOptions) -> None:
        if not tracks:
            raise ValueError("a stream has at least one track")
        self._start = start
        self._options = options
        self._writers = {track.track: TrackWriter(track, start, options) for track in tracks}
        lead = next((track for track in tracks if track.kind == "video"), tracks[0])
        self._by_time = lead.kind != "video"
        self._lead = self._writers[lead.track]
        self._followers = [writer for writer in self._writers.values() if writer is not self._lead]
        self._started = False
        self._dropped = 0
        self._segment_start = 0
        self._target_ticks = round(options.segment_seconds * self._lead.timescale)
        self._max_ticks = round(max(options.segment_seconds, options.segment_max_seconds) * self._lead.timescale)
        self._back_ticks = round(BACKWARD_MAX_SECONDS * self._lead.timescale)
        self._forward_ticks = round(FORWARD_MAX_SECONDS * self._lead.timescale)

    @property
    def dropped(self) -> int:
        return self._dropped + sum(writer.dropped for writer in self._writers.values())

    @property
    def next_segment(self) -> int:
        """The first segment number that this epoch has not used, for the next epoch and the stream's record."""
        used = max(writer.segment - writer.idle for writer in self._writers.values())
        return max(self._start.segment, used + 1)

    @property
    def end_seconds(self) -> float:
        """The end of everything taken so far, on the stream's timeline: `earliest_seconds` of the next epoch."""
        ends = (max(writer.shown_until, writer.end or 0) / writer.timescale for writer in self._writers.values())
        return max(self._start.earliest_seconds, *ends)

    def push(self, sample: Sample) -> list[Chunk]:
        """Take one sample; return the chunks that are complete with it, in the order to send them.

        Samples of a track come in decoding order, tracks in any order; the closer, the less is held.

        Raises:
            TimelineBroken: when the source's times jumped; begin a new epoch.
            KeyError: for a sample of a track that the stream does not have.
        """
        writer = self._writers[sample.track]
        out: list[Chunk] = []
        if writer is self._lead:
            if not self._started:
                if not sample.keyframe:
                    self._dropped += 1
                    return out
                self._begin(sample)
            self._take_lead(sample, out)
            for follower in self._followers:
                if follower.held or follower.cuts:
                    self._release(follower, out)
        elif self._started:
            self._check_follower(writer, sample)
            writer.held.append(sample)
            self._release(writer, out)
            self._cut_without_lead(writer, out)
        else:
            self._hold_early(writer, sample)
        return out

    def finish(self) -> list[Chunk]:
        """Close the open segment of every track and return the last chunks; nothing may be pushed afterwards."""
        out: list[Chunk] = []
        if not self._started:
            return out
        for follower in self._followers:
            while follower.held:
                self._take_follower(follower, out)
            while follower.cuts:
                self._end_follower_segment(follower, out)
        if not all(writer.idle for writer in self._writers.values()):
            for writer in self._writers.values():
                self._end_last_segment(writer, out)
        return out

    # -- the lead -------------------------------------------------------------------------------------------------

    def _begin(self, sample: Sample) -> None:
        """Map the source's clock to the stream's timeline by the lead's first random access point."""
        lead = self._lead
        anchor = max(Fraction(sample.capture_us, 1_000_000), Fraction(self._start.earliest_seconds))
        first = round(anchor * lead.timescale)
        for writer in self._writers.values():
            writer.shift = round(Fraction(first - sample.dts, lead.timescale) * writer.timescale)
        self._started = True
        self._open_segment(first)
        for follower in self._followers:
            begin = self._to(follower, first)
            while follower.held and follower.held[0].dts + follower.shift < begin:
                follower.held.popleft()
                self._dropped += 1

    def _open_segment(self, start: int) -> None:
        self._segment_start = start
        half = self._lead.frame // 2
        self._lead.segment_limit = start + (self._target_ticks if self._by_time else self._max_ticks) - half

    def _take_lead(self, sample: Sample, out: list[Chunk]) -> None:
        lead = self._lead
        delta = sample.dts - (lead.last_dts if lead.last_dts is not None else sample.dts)
        if not -self._back_ticks <= delta <= self._forward_ticks:
            raise TimelineBroken(lead.number, delta / lead.timescale)
        lead.last_dts = sample.dts
        time = sample.dts + lead.shift
        if not self._by_time and (time >= lead.segment_limit or (sample.keyframe and self._may_cut(time))):
            self._cut(lead.end_segment(out, time), out)
        segment = lead.segment
        lead.take(sample, out)
        if lead.segment != segment and lead.end is not None:
            self._cut(lead.end, out)

    def _may_cut(self, time: int) -> bool:
        return time - self._segment_start >= self._target_ticks - self._lead.frame // 2

    def _cut(self, time: int, out: list[Chunk]) -> None:
        """The lead's segment ended at `time`: followers end theirs there."""
        self._open_segment(time)
        for follower in self._followers:
            follower.cuts.append(self._to(follower, time))
            self._meet_cut(follower, out)

    # -- the followers --------------------------------------------------------------------------------------------

    def _to(self, follower: TrackWriter, time: int) -> int:
        """Return a time of the lead in ticks of `follower`."""
        return time * follower.timescale // self._lead.timescale

    def _hold_early(self, writer: TrackWriter, sample: Sample) -> None:
        """Keep what comes before the lead's first random access point for as long as it may belong after it."""
        held = writer.held
        held.append(sample)
        span = round(self._options.hold_seconds * writer.timescale)
        while len(held) > HELD_MAX_SAMPLES or held[-1].dts - held[0].dts > span:
            held.popleft()
            self._dropped += 1

    def _check_follower(self, writer: TrackWriter, sample: Sample) -> None:
        """Raise when a follower jumped away from the lead: one that goes on while the lead is silent did not."""
        assert self._lead.end is not None
        limit = FORWARD_MAX_SECONDS * writer.timescale
        away = sample.dts + writer.shift - self._to(writer, self._lead.end)
        before, writer.last_dts = writer.last_dts, sample.dts
        if abs(away) > limit and (before is None or abs(sample.dts - before) > limit):
            raise TimelineBroken(writer.number, away / writer.timescale)

    def _release(self, follower: TrackWriter, out: list[Chunk]) -> None:
        """Take the held samples that no cut to come can be before, or that waited long enough."""
        assert self._lead.end is not None
        mark = self._to(follower, self._lead.end)
        hold = round(self._options.hold_seconds * follower.timescale)
        held = follower.held
        while held and (
            self._middle(follower) < mark or held[-1].dts - held[0].dts > hold or len(held) > HELD_MAX_SAMPLES
        ):
            self._take_follower(follower, out)
        while follower.cuts and mark - follower.cuts[0] > hold:
            self._end_follower_segment(follower, out)

    def _middle(self, follower: TrackWriter) -> int:
        sample = follower.held[0]
        return sample.dts + follower.shift + (sample.duration or follower.frame) // 2

    def _take_follower(self, follower: TrackWriter, out: list[Chunk]) -> None:
        middle = self._middle(follower)
        while follower.cuts and middle >= follower.cuts[0]:
            self._end_follower_segment(follower, out)
        segment = follower.segment
        follower.take(follower.held.popleft(), out)
        if follower.segment != segment:
            follower.cuts.popleft()
            self._meet_cut(follower, out)

    def _end_follower_segment(self, follower: TrackWriter, out: list[Chunk]) -> None:
        cut = follower.cuts.popleft()
        following = follower.held[0].dts + follower.shift if follower.held else None
        follower.end_segment(out, following, cut, self._lead.capture_us)
        self._meet_cut(follower, out)

    def _meet_cut(self, follower: TrackWriter, out: list[Chunk]) -> None:
        """Tell the follower where its open segment ends; end those that it has reached already."""
        while follower.cuts:
            limit = follower.cuts[0] - follower.frame // 2
            if follower.end is None or follower.end < limit:
                follower.segment_limit = limit
                return
            follower.end_segment(out)
            follower.cuts.popleft()

    def _cut_without_lead(self, follower: TrackWriter, out: list[Chunk]) -> None:
        """Cut a segment that grew too long in `follower` because the lead is silent."""
        longest = self._max_ticks + round(self._options.hold_seconds * self._lead.timescale)
        while follower.end is not None and follower.end > self._to(follower, self._segment_start + longest):
            self._lead.end_segment(out)
            self._cut(self._segment_start + self._max_ticks, out)

    # -- the end --------------------------------------------------------------------------------------------------

    def _end_last_segment(self, writer: TrackWriter, out: list[Chunk]) -> None:
        assert self._lead.end is not None
        writer.end_segment(out, None, self._to(writer, self._lead.end), self._lead.capture_us)
