"""One track's part of the packager: samples become chunks and parts, decode times go on without a seam.

No frame waits for the next one. A chunk leaves with its last sample, whose duration is a guess; the next chunk begins
where that guess ended, and its first composition offset carries the difference. So decode times are continuous to the
tick while presentation times of video stay exactly the source's.

Audio has no composition offsets. It is counted by the duration of its frames, since sources stamp it with jitter:

- up to `AUDIO_JITTER_SECONDS` late or early counts as jitter and is ignored;
- later than that is a gap. As many frames of silence as fit best are put there, since players play frames one after the
  other whatever their times say; where frames are long the last one is cut short. A gap of less than half a frame is
  given to the sample before it in the same chunk. Where that has left, or no silent frame is known, the sample itself
  begins early and is stretched to its own end, by no more than `AUDIO_OFF_MAX_SECONDS` where silence is known;
- earlier than that is an overlap: the sample is dropped if that leaves less than it mends, else the one before it is
  cut short. Where that has left the sample begins late, and is dropped where that were too much.

A part ends when the next frame would not fit. Where the end of a part of video lies within half a frame of the nominal
length it is put there exactly, so jitter never makes a part longer than PART-TARGET.

Most samples neither complete a chunk nor decide anything. A writer tells for which source times that is so, from
`calm_from` to `calm_until`; whoever finds a sample between them may append it to `queue` and be done. On the hot path
of ingress that halves the work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from headrace.identifiers import ChunkId
from headrace.media.cadence import frame_seconds, track_cadence
from headrace.media.fragment import FragmentShape, Sync, fragment_shape, ntp_time, shape_samples
from headrace.media.samples import EpochStart, PackagerOptions, Sample
from headrace.media.silence import silent_frame
from headrace.wire.chunk import KIND_CHUNK, RECORD_HEADER, Chunk, Flag, make_chunk
from headrace.wire.stream import Track

FOLLOWER_STRETCH = 1.5
"""Longest chunk of a track that ends its chunks with the lead's, in its nominal lengths: what it falls back to while
the lead is silent."""

AUDIO_JITTER_SECONDS = 0.018
"""How far audio may be off its count before it is put right: with a step of the timeline's steering less than 20 ms,
which is half of what people notice between sound and picture (ITU-R BT.1359: 45 ms)."""

AUDIO_OFF_MAX_SECONDS = 0.0195
"""Most that the first frame of a chunk begins early or late, where silence can take what is left: it is no longer
possible to stretch or to cut the frame before. Half of a long frame would be more than sound may be off."""

FRAME_GUESS_SECONDS = 0.04
"""Duration of the very first frame when nothing is known of it: 25 per second."""

FRAME_MAX_SECONDS = 10.0
"""Longest frame, and furthest that a picture may be shown before or after it is decoded: what a source says beyond it
is a mistake."""

NEVER = 2**63
"""A decode time that is never reached."""

SHAPES_MAX = 64
"""Most shapes of chunks kept for a track: a steady feed has five, one whose frame duration varies has any number."""

FLAGS = tuple(Flag(bits) for bits in range(8))
"""Looked up, since making an enum member costs as much as packing a header."""

_ALL, _NONE, _FIRST = Sync.ALL, Sync.NONE, Sync.FIRST
_new_tuple = tuple.__new__

_RANDOM_ACCESS, _PART, _SEGMENT = (int(flag) for flag in (Flag.RANDOM_ACCESS, Flag.END_OF_PART, Flag.END_OF_SEGMENT))


class TrackWriter:
    """Writes the chunks of one track in one epoch.

    Times are ticks of the track, on the stream's timeline where nothing else is said.

    Attributes:
        counted: whether times are counted by the duration of frames: audio.
        shift: what to add to the source's times; set when the epoch begins.
        shown_until: end of the presentation of what was written, 0 before the first chunk.
        segment: the number of the open segment.
        frame: duration of a frame as well as it is known, 0 for not at all.
        capture_us: capture time of the newest chunk.
        dropped: samples left out because they overlapped.
        held: samples not taken yet: it is not known on which side of a cut they belong, or there was no need.
        blocked: whether samples are held for the lead to pass them.
        silence: a frame to send where the source has none, empty where none is known.
        noticed: `last_dts` when it was last looked at, and `noticed_at` when that was new, in ticks of the lead.
        cuts: where the open segment and those after it end, as far as decided.
        queue: where calm samples go: `held` for what is counted, else the open chunk.
        calm_from, calm_until: source times between which any sample but a keyframe of video is calm.
    """

    # More attributes than instances can share the keys of (30 in CPython 3.11), and looked up on cold caches.
    __slots__ = (
        "_begin",
        "_chunk",
        "_chunk_ticks",
        "_end",
        "_epoch",
        "_even",
        "_frame_max",
        "_full_at",
        "_guessed_frame",
        "_jitter",
        "_known_frame",
        "_last_dts",
        "_least_ticks",
        "_may_be_calm",
        "_off_max",
        "_overfull_at",
        "_part",
        "_part_filled",
        "_part_start",
        "_part_ticks",
        "_samples",
        "_segment_limit",
        "_sequence",
        "_shapes",
        "_times",
        "blocked",
        "calm_from",
        "calm_until",
        "capture_us",
        "counted",
        "cuts",
        "dropped",
        "frame",
        "held",
        "noticed",
        "noticed_at",
        "number",
        "queue",
        "segment",
        "shift",
        "shown_until",
        "silence",
        "timescale",
    )

    def __init__(self, track: Track, start: EpochStart, options: PackagerOptions, leads: bool) -> None:
        rhythm = track_cadence(track, options)
        self.number = track.track
        self.timescale = track.timescale
        self.counted = track.kind == "audio"
        self.shift = 0
        self.shown_until = 0
        self.segment = start.segment
        self.frame = round(frame_seconds(track) * track.timescale)
        self.capture_us = 0
        self.dropped = 0
        self.held: list[Sample] = []
        self.blocked = False
        self.silence = silent_frame(track)
        self.noticed: int | None = None
        self.noticed_at = 0
        self.cuts: deque[int] = deque()
        self.calm_from, self.calm_until = NEVER, 0
        self._may_be_calm = self.counted or leads
        self._epoch = start.epoch
        self._known_frame = self.frame
        self._guessed_frame = round(FRAME_GUESS_SECONDS * track.timescale)
        self._chunk_ticks = round(rhythm.chunk_seconds * track.timescale)
        self._least_ticks = self._chunk_ticks // 2
        if not leads:
            self._chunk_ticks = round(self._chunk_ticks * FOLLOWER_STRETCH)
        self._part_ticks = round(rhythm.part_seconds * track.timescale)
        self._jitter = round(AUDIO_JITTER_SECONDS * track.timescale)
        self._off_max = round(AUDIO_OFF_MAX_SECONDS * track.timescale)
        self._frame_max = round(FRAME_MAX_SECONDS * track.timescale)
        self._chunk = self._part = self._sequence = 0
        self._part_start: int | None = None
        self._part_filled = False
        self._segment_limit = NEVER
        self._last_dts: int | None = None
        self._end: int | None = None
        # The open chunk: where it begins, its samples, of audio where each begins and whether all last a frame; it is
        # written when its end reaches the first limit, or when a sample comes that would end after the second.
        self._begin = 0
        self._samples: list[Sample] = []
        self._times: list[int] = []
        self._even = True
        self._shapes: dict[tuple[int, int, int], FragmentShape] = {}
        self._full_at = self._overfull_at = NEVER
        self.queue = self.held if self.counted else self._samples

    @property
    def idle(self) -> bool:
        """Whether nothing was written or taken since the last segment ended."""
        return self._chunk == 0 and not self._samples

    @property
    def is_open(self) -> bool:
        """Whether a chunk has been begun."""
        return bool(self._samples)

    @property
    def end(self) -> int | None:
        """Where the samples taken so far are expected to end, `None` before the first."""
        if self._samples and not self.counted:
            return max(self._samples[-1].dts + self.shift + self.frame, self._begin + len(self._samples))
        return self._end

    @property
    def last_dts(self) -> int | None:
        """The newest sample's decode time by the source's clock, `None` before the first."""
        return self.queue[-1].dts if self.queue else self._last_dts

    def move(self, shift: int) -> None:
        """Place what is not written yet, and all that comes, by another shift."""
        self.shift = shift
        if self._end is not None:
            self._set_limits()

    def limit_segment(self, limit: int) -> None:
        """Let the open segment end as soon as a sample's end reaches `limit`."""
        self._segment_limit = limit
        if self._end is not None:
            self._set_limits()

    # -- samples --------------------------------------------------------------------------------------------------

    def take(self, sample: Sample, out: list[Chunk]) -> None:
        """Add `sample`; append the chunks that are complete now to `out`."""
        time = sample.dts + self.shift
        counted = self.counted
        if counted:
            frame = self._duration(sample) or self.frame or self._guessed_frame
            if self._end is not None and time != self._end:
                if self._silence_fits(time, frame):
                    self._fill_gap(time, frame, sample, out)
                begin = self._count(time, frame)
                if begin is None:
                    return
                time = begin
        else:
            frame = self._video_frame(sample)
        if frame != self.frame or (counted and time != self._end):
            self._even = not counted
        self.frame = frame
        end = time + frame
        if self._end is None:
            self._end = self._begin = time
            self._set_limits()
        samples = self._samples
        if samples and (end > self._overfull_at or (sample.keyframe and not samples[0].keyframe)):
            self._write(out, self._end_before(time), 0)
            samples = self._samples
        if counted:
            self._times.append(time if samples else self._begin)
            self._end = end
        samples.append(sample)
        self._last_dts = sample.dts
        if end >= self._full_at:
            self._write(out, end, _SEGMENT | _PART if end >= self._segment_limit else 0)

    def take_held(self, out: list[Chunk]) -> bool:
        """Take all held frames of audio at once if they are as counted; else take none and return False."""
        run, frame, end = self.held, self.frame, self._end
        if end is None or not self.counted:
            return False
        until = end + len(run) * frame
        early, late = run[0].dts + self.shift - end, run[-1].dts + self.shift - until + frame
        jitter = min(self._jitter, frame)
        if not (-jitter < early < jitter and -jitter < late < jitter and until - frame < self._full_at):
            return False
        for sample in run:
            if sample.duration != frame:
                return False
        self._times += range(end, until, frame)
        self._samples += run
        self._last_dts = run[-1].dts
        self._end = until
        run.clear()
        if until >= self._full_at:
            self._write(out, until, _SEGMENT | _PART if until >= self._segment_limit else 0)
        return True

    def end_chunk(self, out: list[Chunk]) -> None:
        """Write the open chunk, if at least half of a nominal one is there."""
        end = self.end
        if self._samples and end is not None and end - self._begin >= self._least_ticks:
            self._write(out, end, _SEGMENT | _PART if end >= self._segment_limit else 0)

    def end_segment(self, out: list[Chunk], following: int | None = None, at: int = 0, capture_us: int = 0) -> int:
        """End the open segment and return where.

        Args:
            out: gets the segment's last chunk: the open one, else one without media.
            following: when the next sample comes, if that is known.
            at: decode time of a chunk without media in a track that had no sample yet.
            capture_us: its capture time.
        """
        end = self.end
        if self._samples and end is not None:
            self._write(out, end if following is None else self._end_before(following), _SEGMENT | _PART)
            return self._begin
        end = at if end is None else end
        part = self._part if self._part_filled else max(0, self._part - 1)
        identity = ChunkId(self._epoch, self.number, self.segment, self._chunk)
        out.append(make_chunk(identity, FLAGS[_SEGMENT | _PART], end, 0, part, 0, self.capture_us or capture_us))
        self._count_on(_SEGMENT | _PART)
        return end

    # -- times ----------------------------------------------------------------------------------------------------

    def _silence_fits(self, time: int, frame: int) -> bool:
        """Whether silence brings what is stamped `time` nearer to it."""
        assert self._end is not None
        late = time - self._end
        if late <= self._jitter or not self._has_silence(frame):
            return False
        return 2 * late >= frame or (late > self._off_max and not self._samples)

    def _has_silence(self, frame: int) -> bool:
        """Whether a frame of silence is known that lasts as long as those of the source."""
        return bool(self.silence) and frame == self._known_frame

    def _fill_gap(self, time: int, frame: int, sample: Sample, out: list[Chunk]) -> None:
        """Put silence before what is stamped `time`: whole frames if that is near enough, else the last cut short."""
        assert self._end is not None
        late = time - self._end
        count, left = (late + frame // 2) // frame, 0
        if abs(late - count * frame) > self._jitter:
            count, left = divmod(late, frame)
        for lasts in [frame] * count + [left] * (left > self._jitter):
            begin = self._end - self.shift
            self.take(Sample(self.number, begin, begin, lasts, True, self.silence, sample.capture_us), out)

    def _count(self, time: int, frame: int) -> int | None:
        """Return when an audio frame stamped `time` begins, `None` when it overlaps and is to be dropped."""
        assert self._end is not None
        error = time - self._end
        if -self._jitter <= error <= self._jitter:
            return self._end
        cannot_cut = not self._samples and -error > self._off_max and self._has_silence(frame)
        if error < 0 and (-2 * error >= frame or cannot_cut):
            self.dropped += 1
            return None
        return time

    def _duration(self, sample: Sample) -> int:
        """Return what the source says of a sample's duration, 0 where that is nothing or cannot be."""
        return sample.duration if 0 < sample.duration <= self._frame_max else 0

    def _video_frame(self, sample: Sample) -> int:
        """Guess how long a frame lasts: never longer than the last one or what is declared."""
        known = self._duration(sample) or self._known_frame
        last = self._samples[-1].dts if self._samples else self._last_dts
        if last is None or sample.dts <= last:
            return known or self.frame or self._guessed_frame
        delta = sample.dts - last
        if known:
            return known if known < delta else delta
        return min(delta, 2 * self.frame) if self.frame else delta

    def _end_before(self, following: int) -> int:
        """Return where the open chunk ends when the next sample comes at `following`: there, if that is near."""
        end = self.end
        assert end is not None
        return following if abs(following - end) <= self.frame // 2 else end

    def _set_limits(self) -> None:
        """Say when the open chunk is full, and for which samples that is no question.

        A part of video ends where it is nearest to the target, one of audio before the frame that does not fit.
        """
        begin, frame = self._begin, self.frame
        half = frame // 2
        if self._part_start is None:
            self._part_start = begin
        part_end = self._part_start + self._part_ticks
        self._overfull_at = part_end if self.counted else part_end + half
        full_at = begin + self._chunk_ticks - half
        part_full = part_end - (frame - 1 if self.counted else half)
        full_at = min(full_at, part_full)
        full_at = min(full_at, self._segment_limit)
        self._full_at = full_at
        if self._may_be_calm and self._known_frame and self._last_dts is not None:
            self.calm_from = self._last_dts + 1
            self.calm_until = full_at - frame - self.shift - (half // 2 if self.counted else 0)

    # -- chunks ---------------------------------------------------------------------------------------------------

    def _write(self, out: list[Chunk], end: int, flags: int) -> None:
        """Write the open chunk up to about `end`: see above for where a part's end is put.

        One function and few calls on purpose: it runs some times a second for each stream, on caches that others used
        in between, where each new piece of code costs more than what it does.
        """
        samples, begin, frame, counted = self._samples, self._begin, self.frame, self.counted
        first, epoch, segment, number, part = samples[0], self._epoch, self.segment, self._chunk, self._part
        if not flags and self._part_start is not None:
            left = self._part_start + self._part_ticks - end
            if counted:
                flags = _PART if left < frame else 0
            elif left <= frame // 2:
                flags = _PART
                end += left if -left <= frame // 2 else 0
        if first.keyframe:
            flags |= _RANDOM_ACCESS
        pieces: list[bytes | memoryview] = [b""]
        sizes, points, even, time = [], 0, self._even, begin - self.shift
        for sample in samples:
            data = sample.data
            pieces.append(data)
            sizes.append(len(data))
            if sample.keyframe:
                points += 1
            if not counted:
                even = even and sample.dts == time == sample.pts
                time += frame
        count, shown = len(sizes), begin
        words: Sequence[int] = sizes
        if even and end - begin == frame * count and (points in {0, count} or (points == 1 and first.keyframe)):
            sync = _ALL if points == count else _FIRST if points else _NONE
            shape = self._shapes.get((count, frame, sync)) or self._shape(count, frame, sync)
        else:
            end, shown, shape, words = self._shape_uneven(end, sizes)
        self._sequence = sequence = self._sequence + 1
        # fmt: off
        pieces[0] = shape.layout.pack(
            KIND_CHUNK, self.number, flags, number, epoch, segment, begin, end - begin, part, count, first.capture_us,
            shape.prft, ntp_time(first.capture_us), shown, shape.moof, sequence, shape.traf, begin, shape.trun,
            *words, 8 + sum(sizes), shape.mdat,
        )
        # fmt: on
        # What ChunkId(...) does, without a call of Python code.
        identity = _new_tuple(ChunkId, (epoch, self.number, segment, number))
        record = b"".join(pieces)
        out.append(Chunk(record, identity, FLAGS[flags], begin, end - begin, part, count, first.capture_us))
        self.capture_us = first.capture_us
        self._last_dts = samples[-1].dts
        self._samples, self._even = [], True
        if counted:
            self._times = []
        else:
            self.queue = self._samples
        self._end = self._begin = end
        self.shown_until = max(self.shown_until, end)
        self._count_on(flags)

    def _shape(self, count: int, frame: int, sync: Sync) -> FragmentShape:
        shape = fragment_shape(self.number, count, frame, sync, False, RECORD_HEADER.format)
        if len(self._shapes) >= SHAPES_MAX:
            self._shapes.clear()
        self._shapes[count, frame, sync] = shape
        return shape

    def _shape_uneven(self, end: int, sizes: list[int]) -> tuple[int, int, FragmentShape, Sequence[int]]:
        """Shape a chunk whose samples are not all alike.

        Returns:
            Where it ends, when its first sample is shown, its shape, and the words of its samples.
        """
        shift, samples = self.shift, self._samples
        times = self._times if self.counted else [self._begin]
        if not self.counted:
            for sample in samples[1:]:
                times.append(max(sample.dts + shift, times[-1] + 1))
        end = max(end, times[-1] + 1)
        durations = [after - time for time, after in zip(times, [*times[1:], end], strict=True)]
        offsets = [0] * len(times)
        if not self.counted:
            most = self._frame_max
            shown = [sample.pts + shift - time for sample, time in zip(samples, times, strict=True)]
            offsets = [offset if -most <= offset <= most else 0 for offset in shown]
        self.shown_until = max(self.shown_until, end + max(offsets))
        sync = [sample.keyframe for sample in samples]
        shape, words = shape_samples(self.number, durations, sizes, sync, offsets, RECORD_HEADER.format)
        return end, times[0] + offsets[0], shape, words

    def _count_on(self, flags: int) -> None:
        """Go on to the next chunk, part and segment after a chunk with `flags`."""
        self._chunk += 1
        self._part_filled = not flags & _PART
        if flags & _PART:
            self._part_start = None
            self._part += 1
        if flags & _SEGMENT:
            self.segment += 1
            self._segment_limit = NEVER
            self._chunk = self._part = 0
        if self._end is not None:
            self._set_limits()
