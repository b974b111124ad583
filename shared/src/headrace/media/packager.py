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

A chunk of the lead ends the followers' open chunks too, at the last frame that came before: whoever waits for one of
them gets both with one wake-up, and none of them is behind the other by more than a frame.

Where a source declared sound and sends none for `hold_seconds`, silence takes its place until it comes (back), since a
player that lacks one track stops the others. Where no silent frame is known for a codec, the track stays empty and its
first frame afterwards is stretched back to where it left off.

A segment's end is told by its last chunk with media where it is known in time, else by a chunk without media, which
stays in the part of the chunk before it. A track that has had no media yet gets such chunks at the time of the cut;
its decode times begin with its first sample.
"""

from __future__ import annotations

from fractions import Fraction

from headrace.media.samples import EpochStart, PackagerOptions, Sample
from headrace.media.steering import STEP_SECONDS, Steering, TimelineBroken
from headrace.media.track_writer import TrackWriter
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track

__all__ = ["EpochStart", "Packager", "PackagerOptions", "Sample", "TimelineBroken"]

BACKWARD_MAX_SECONDS = 0.5
"""Furthest that a source's decode times may step back before it counts as restarted, or forward without time passing;
less is a disorder that composition offsets carry."""

FORWARD_MAX_SECONDS = 10.0
"""Furthest that they may step forward; whoever pauses for longer begins a new epoch, with a jump where time passed. For
the lead it is the longest segment, if that is less, since a frame is shown until the next one comes."""

HELD_MAX_SAMPLES = 1024
"""Most samples of one track that wait for video, whatever their times: `hold_seconds` of the shortest Opus frames is
a fifth of it."""


class Packager:
    """Cuts one epoch of one stream into chunks, parts and segments.

    Samples of a track come in decoding order, tracks in any order; the closer together, the less is held.
    """

    def __init__(self, tracks: tuple[Track, ...], start: EpochStart, options: PackagerOptions) -> None:
        if not tracks:
            raise ValueError("a stream has at least one track")
        self._start = start
        self._options = options
        lead = next((track for track in tracks if track.kind == "video"), tracks[0])
        self._writers = {track.track: TrackWriter(track, start, options, leads=track is lead) for track in tracks}
        self._by_time = lead.kind != "video"
        self._lead = self._writers[lead.track]
        self._followers = [writer for writer in self._writers.values() if writer is not self._lead]
        self._steering = Steering()
        self._steer_at = -(2**63)
        self._offset = Fraction(0)
        self._started = False
        self._blocked = False
        self._dropped = 0
        self._first = self._segment_start = 0
        self._cut_from = 0
        self._target_ticks = round(options.segment_seconds * lead.timescale)
        self._max_ticks = round(max(options.segment_seconds, options.segment_max_seconds) * lead.timescale)
        self._back_ticks = round(BACKWARD_MAX_SECONDS * lead.timescale)
        self._forward_ticks = min(round(FORWARD_MAX_SECONDS * lead.timescale), self._max_ticks)
        self._hold_ticks = round(options.hold_seconds * lead.timescale)

    @property
    def dropped(self) -> int:
        """Samples left out so far: before the first random access point, and audio that overlapped."""
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

    @property
    def outlook(self) -> tuple[float, float] | None:
        """The lead's newest decode time and the one that can complete its next chunk, where one was just completed.

        Both are seconds by the source's clock; `None` where it is not known. A keyframe that comes where none is
        expected may complete one earlier.
        """
        lead = self._lead
        last = lead.last_dts
        if self._blocked or last is None or lead.calm_from != last + 1:
            return None
        due = lead.calm_until
        if last < self._cut_from - lead.shift:
            due = min(due, self._cut_from - lead.shift)  # where a keyframe is expected, which ends the segment
        # The first of samples a frame apart from there on; a quarter of a frame is jitter.
        frames = (due - last + lead.frame * 3 // 4) // lead.frame
        return last / lead.timescale, (last + frames * lead.frame) / lead.timescale

    def push(self, sample: Sample) -> list[Chunk]:
        """Take one sample; return the chunks that are complete with it, in the order to send them.

        Raises:
            TimelineBroken: when the source's times jumped; begin a new epoch.
            KeyError: for a sample of a track that the stream does not have.
        """
        writer = self._writers[sample.track]
        out: list[Chunk] = []
        if (
            writer.calm_from <= sample.dts < writer.calm_until
            and not self._blocked
            and (writer.counted or not sample.keyframe)
        ):
            writer.queue.append(sample)
        elif writer is self._lead:
            if self._started or self._begin(sample):
                self._take_lead(sample, out)
        elif self._started:
            self._take_follower(writer, sample, out)
        else:
            self._hold_early(writer, sample)
        return out

    def finish(self) -> list[Chunk]:
        """Close the open segment of every track and return the last chunks; nothing may be pushed afterwards."""
        out: list[Chunk] = []
        if not self._started:
            return out
        if self._by_time:
            self._take_lead_frames(out)
        for follower in self._followers:
            self._drop_beyond(follower)
            while follower.held:
                self._take_next(follower, out)
            while follower.cuts:
                self._end_follower_segment(follower, out)
        if not all(writer.idle for writer in self._writers.values()):
            self._lead.end_segment(out)
            for follower in self._followers:
                self._end_empty_or_open(follower, out)
        return out

    # -- the lead -------------------------------------------------------------------------------------------------

    def _begin(self, sample: Sample) -> bool:
        """Map the source's clock to the stream's timeline; return False before the first random access point."""
        if not sample.keyframe:
            self._dropped += 1
            return False
        lead = self._lead
        anchor = max(Fraction(sample.capture_us, 1_000_000), Fraction(self._start.earliest_seconds))
        first = round(anchor * lead.timescale)
        self._move(Fraction(first - sample.dts, lead.timescale))
        self._started = True
        self._first = first
        self._open_segment(first)
        for follower in self._followers:
            follower.noticed_at = first
            begin = self._to(follower, first) - follower.shift
            limit = begin + round(FORWARD_MAX_SECONDS * follower.timescale)
            had = len(follower.held)
            follower.held[:] = [sample for sample in follower.held if begin <= sample.dts <= limit]
            self._dropped += had - len(follower.held)
        return True

    def _move(self, seconds: Fraction) -> None:
        """Move the timeline against the source's clock, for all tracks alike."""
        self._offset += seconds
        for writer in self._writers.values():
            writer.move(round(self._offset * writer.timescale))

    def _check_step(self, sample: Sample, step: int) -> None:
        """Raise where decode times of the lead jumped: too far, or forward while no time passed."""
        media, captured = self._place(sample)
        sprung = self._steering.behind - (captured - media)
        if not -self._back_ticks <= step <= self._forward_ticks or sprung > BACKWARD_MAX_SECONDS:
            raise TimelineBroken(self._lead.number, step / self._lead.timescale)

    def _place(self, sample: Sample) -> tuple[float, float]:
        """Return when a sample of the lead is shown and when it was captured, in UTC."""
        shown = sample.pts if abs(sample.pts - sample.dts) <= self._forward_ticks else sample.dts
        return (shown + self._lead.shift) / self._lead.timescale, sample.capture_us / 1_000_000

    def _steer(self, sample: Sample) -> None:
        lead = self._lead
        self._steer_at = sample.dts + round(STEP_SECONDS * lead.timescale)
        media, captured = self._place(sample)
        if seconds := self._steering.step(media, captured):
            self._move(Fraction(round(seconds * 1_000_000), 1_000_000))

    def _open_segment(self, start: int) -> None:
        half = self._lead.frame // 2
        self._segment_start = start
        self._cut_from = start + self._target_ticks - half
        self._lead.limit_segment(self._cut_from if self._by_time else start + self._max_ticks - half)

    def _take_lead(self, sample: Sample, out: list[Chunk]) -> None:
        lead = self._lead
        last = lead.last_dts
        if last is not None and not -self._back_ticks <= sample.dts - last <= self._back_ticks:
            self._check_step(sample, sample.dts - last)
        if sample.dts >= self._steer_at:
            self._steer(sample)
        if sample.keyframe and self._steering.is_far:
            raise TimelineBroken(lead.number, self._steering.behind, behind=True)
        if self._by_time:
            lead.held.append(sample)
            self._take_lead_frames(out)
        else:
            time = sample.dts + lead.shift
            if time >= self._cut_from and (sample.keyframe or time >= self._segment_start + self._max_ticks):
                self._cut(lead.end_segment(out, time), out)
            self._take_lead_sample(sample, out)
        complete = not lead.is_open
        for follower in self._followers:
            if follower.cuts or follower.blocked or (complete and follower.held):
                self._release(follower, out)
            if complete and not follower.cuts:
                follower.end_chunk(out)
            if follower.silence:
                self._listen(follower, out)

    def _take_lead_sample(self, sample: Sample, out: list[Chunk]) -> None:
        segment = self._lead.segment
        self._lead.take(sample, out)
        if self._lead.segment != segment:
            assert self._lead.end is not None
            self._cut(self._lead.end, out)

    def _take_lead_frames(self, out: list[Chunk]) -> None:
        """Take the frames of a stream without video, all at once where they are as expected."""
        lead = self._lead
        segment = lead.segment
        if not lead.held or lead.take_held(out):
            if lead.segment != segment:
                assert lead.end is not None
                self._cut(lead.end, out)
            return
        frames = lead.held[:]
        lead.held.clear()
        for sample in frames:
            self._take_lead_sample(sample, out)

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
            del held[0]
            self._dropped += 1

    def _take_follower(self, follower: TrackWriter, sample: Sample, out: list[Chunk]) -> None:
        assert self._lead.end is not None
        limit = FORWARD_MAX_SECONDS * follower.timescale
        away = sample.dts + follower.shift - self._to(follower, self._lead.end)
        last = follower.last_dts
        # From before the epoch began, or of a track that was never in time with the lead.
        if follower.end is None and (sample.dts + follower.shift < self._to(follower, self._first) or away > limit):
            self._dropped += 1
            return
        # A follower that goes on while the lead is silent goes far from it without a jump.
        if abs(away) > limit and (last is None or abs(sample.dts - last) > limit):
            raise TimelineBroken(follower.number, away / follower.timescale)
        while follower.held and follower.held[-1].dts - sample.dts > self._to(follower, self._back_ticks):
            # What came before a jump and is of a later time would hold up all that follows.
            follower.held.pop()
            self._dropped += 1
        follower.held.append(sample)
        self._release(follower, out)
        if follower.held:
            self._cut_without_lead(follower, out)

    def _release(self, follower: TrackWriter, out: list[Chunk]) -> None:
        """Take the held samples that no cut to come can be before, or that waited long enough."""
        assert self._lead.end is not None
        mark = self._to(follower, self._lead.end)
        held, cuts = follower.held, follower.cuts
        if cuts or not held or _middle(follower, held[-1]) >= mark or not follower.take_held(out):
            hold = self._to(follower, self._hold_ticks)
            while held and (
                _middle(follower, held[0]) < mark or held[-1].dts - held[0].dts > hold or len(held) > HELD_MAX_SAMPLES
            ):
                self._take_next(follower, out)
            while cuts and mark - cuts[0] > hold:
                self._end_follower_segment(follower, out)
        follower.blocked = bool(held)
        self._blocked = any(writer.blocked for writer in self._followers)

    def _listen(self, follower: TrackWriter, out: list[Chunk]) -> None:
        """Put silence where nothing came of `follower` while the lead went on for `hold_seconds`."""
        now = self._lead.end
        assert now is not None
        if follower.last_dts != follower.noticed:
            follower.noticed, follower.noticed_at = follower.last_dts, now
        elif now - follower.noticed_at > self._hold_ticks:
            self._fill(follower, now, out)
            follower.noticed = follower.last_dts

    def _fill(self, follower: TrackWriter, until: int, out: list[Chunk]) -> None:
        """Hold silence from where `follower` ends, or where the epoch began, and release it."""
        frame, held = follower.frame, follower.held
        begin = self._to(follower, follower.noticed_at) if follower.end is None else follower.end
        time = held[-1].dts + frame if held else begin - follower.shift
        limit = self._to(follower, until) - follower.shift
        while time + frame <= limit:
            capture_us = self._lead.capture_us
            held.append(Sample(follower.number, time, time, frame, True, follower.silence, capture_us))
            time += frame
        self._release(follower, out)

    def _take_next(self, follower: TrackWriter, out: list[Chunk]) -> None:
        """Take the oldest held sample, after ending the segments that it is not in."""
        middle = _middle(follower, follower.held[0])
        while follower.cuts and middle >= follower.cuts[0]:
            self._end_follower_segment(follower, out)
        segment = follower.segment
        follower.take(follower.held.pop(0), out)
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
                follower.limit_segment(limit)
                return
            follower.end_segment(out)
            follower.cuts.popleft()

    def _drop_beyond(self, follower: TrackWriter) -> None:
        """Leave out what is held of a time that the lead did not come to: it jumped there first."""
        assert self._lead.end is not None
        limit = self._to(follower, self._lead.end + self._hold_ticks)
        if follower.end is not None:
            limit = max(limit, follower.end + self._to(follower, self._hold_ticks))
        while follower.held and follower.held[-1].dts + follower.shift > limit:
            follower.held.pop()
            self._dropped += 1

    def _cut_without_lead(self, follower: TrackWriter, out: list[Chunk]) -> None:
        """Cut a segment that grew too long in `follower` because the lead is silent."""
        longest = self._max_ticks + self._hold_ticks
        while follower.end is not None and follower.end > self._to(follower, self._segment_start + longest):
            self._lead.end_segment(out)
            self._cut(self._segment_start + self._max_ticks, out)

    def _end_empty_or_open(self, follower: TrackWriter, out: list[Chunk]) -> None:
        assert self._lead.end is not None
        follower.end_segment(out, None, self._to(follower, self._lead.end), self._lead.capture_us)


def _middle(follower: TrackWriter, sample: Sample) -> int:
    """Return the middle of a sample: a cut before it leaves it to the next segment."""
    return sample.dts + follower.shift + (sample.duration or follower.frame) // 2
