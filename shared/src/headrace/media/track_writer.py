"""One track's part of the packager: samples become chunks and parts, decode times go on without a seam.

No frame waits for the next one. A chunk leaves with its last sample, whose duration is a guess; the next chunk begins
where that guess ended, and its first composition offset carries the difference. So decode times are continuous to the
tick while presentation times of video stay exactly the source's.

Audio has no composition offsets. It is counted by the duration of its frames, since sources stamp it with jitter:

- up to `AUDIO_JITTER_SECONDS` (or half a frame, if that is longer) late or early counts as jitter and is ignored;
- later than that is a gap: the sample before it in the same chunk is stretched up to it, or, where that has left, the
  sample itself begins early and is stretched to its own end; time is right again from there on;
- earlier than that, and by at least a frame, is an overlap: the sample is dropped.

A part ends when the next frame would not fit. Where the end of a part of video lies within half a frame of the nominal
length it is put there exactly, so jitter never makes a part longer than PART-TARGET.
"""

from __future__ import annotations

from collections import deque

from headrace.identifiers import ChunkId
from headrace.media.cadence import frame_seconds, track_cadence
from headrace.media.fragment import write_fragment
from headrace.media.samples import EpochStart, PackagerOptions, Sample
from headrace.wire.chunk import KIND_CHUNK, RECORD_HEADER, Chunk, Flag
from headrace.wire.stream import Track

AUDIO_JITTER_SECONDS = 0.02
"""How far audio may be off its count before it is put right: half of what people notice between sound and picture
(ITU-R BT.1359: 45 ms)."""

FRAME_GUESS_SECONDS = 0.04
"""Duration of the very first frame when nothing is known of it: 25 per second."""

NEVER = 2**63
"""A decode time that is never reached."""

FLAGS = tuple(Flag(bits) for bits in range(8))
"""Looked up, since making an enum member costs as much as packing a header."""

_RANDOM_ACCESS, _PART, _SEGMENT = (int(flag) for flag in (Flag.RANDOM_ACCESS, Flag.END_OF_PART, Flag.END_OF_SEGMENT))


class TrackWriter:
    """Writes the chunks of one track in one epoch.

    Times are ticks of the track on the stream's timeline.

    Attributes:
        shift: what to add to the source's times; set when the epoch begins.
        end: where the next chunk begins, `None` before the first sample.
        shown_until: end of the presentation of what was taken, 0 before the first sample.
        segment: the number of the open segment.
        segment_limit: when a sample's end reaches it, the segment ends there.
        last_dts: the newest sample's, in the source's time, for whoever checks it; `None` before the first.
        held: samples that wait for the video of their time.
        cuts: where the open segment and those after it end, as far as decided.
        frame: duration of a frame as well as it is known, 0 for not at all.
        capture_us: capture time of the newest sample.
        dropped: samples left out because they overlapped.
    """

    def __init__(self, track: Track, start: EpochStart, options: PackagerOptions) -> None:
        rhythm = track_cadence(track, options)
        self.number = track.track
        self.timescale = track.timescale
        self.counted = track.kind == "audio"
        self.shift = 0
        self.end: int | None = None
        self.shown_until = 0
        self.segment = start.segment
        self.segment_limit = NEVER
        self.last_dts: int | None = None
        self.held: deque[Sample] = deque()
        self.cuts: deque[int] = deque()
        self.frame = round(frame_seconds(track) * track.timescale)
        self.capture_us = 0
        self.dropped = 0
        self._epoch = start.epoch
        self._known_frame = self.frame
        self._chunk_ticks = round(rhythm.chunk_seconds * track.timescale)
        self._part_ticks = round(rhythm.part_seconds * track.timescale)
        self._jitter = round(AUDIO_JITTER_SECONDS * track.timescale)
        self._chunk = self._part = self._sequence = 0
        self._part_start = 0
        self._part_open = False
        self._last_time: int | None = None
        self._chunk_capture_us = 0
        self._times: list[int] = []
        self._shown: list[int] = []
        self._sync: list[bool] = []
        self._data: list[bytes] = []

    @property
    def idle(self) -> bool:
        """Whether nothing was written or taken since the last segment ended."""
        return self._chunk == 0 and not self._times

    def take(self, sample: Sample, out: list[Chunk]) -> None:
        """Add `sample`; append the chunks that are complete now to `out`."""
        time = sample.dts + self.shift
        if self.counted:
            frame = sample.duration or self.frame or round(FRAME_GUESS_SECONDS * self.timescale)
            tolerance = 0
            if self.end is not None:
                error = time - self.end
                if error < 0 and -error >= frame and -error > self._jitter:
                    self.dropped += 1
                    return
                if error <= max(self._jitter, frame // 2):
                    time = self.end
            shown = time
        else:
            frame = self._video_frame(sample.duration, time)
            tolerance = frame // 2
            shown = sample.pts + self.shift
        self.frame = frame
        times = self._times
        if times and (
            (sample.keyframe and not self._sync[0]) or time + frame - self._part_start > self._part_ticks + tolerance
        ):
            self.close_chunk(out, time)
        self._add(sample, time, shown)
        self.end = end = max(time + frame, self._times[-1] + 1)
        if end >= self.segment_limit:
            self._write(out, end, _SEGMENT | _PART)
        elif (
            end - self._part_start > self._part_ticks - frame + tolerance
            or end - self._times[0] >= self._chunk_ticks - frame // 2
        ):
            self._write(out, end, 0)

    def close_chunk(self, out: list[Chunk], following: int) -> None:
        """Write the open chunk, whose next sample comes at `following`."""
        assert self.end is not None
        self._write(out, following if abs(following - self.end) <= self.frame // 2 else self.end, 0)

    def end_segment(self, out: list[Chunk], following: int | None = None, at: int = 0, capture_us: int = 0) -> int:
        """End the open segment and return where.

        Args:
            out: gets the segment's last chunk: the open one, else one without media.
            following: when the next sample comes, if that is known.
            at, capture_us: decode and capture time of a chunk without media in a track that had no sample yet.
        """
        if self._times:
            assert self.end is not None
            near = following is not None and abs(following - self.end) <= self.frame // 2
            self._write(out, following if near and following is not None else self.end, _SEGMENT | _PART)
        else:
            part = self._part if self._part_open or self._part == 0 else self._part - 1
            decode_time = at if self.end is None else self.end
            self._emit(out, b"", _SEGMENT | _PART, decode_time, 0, part, 0, self.capture_us or capture_us)
        return at if self.end is None else self.end

    def _video_frame(self, declared: int, time: int) -> int:
        """Guess how long the frame at `time` lasts: never longer than the last one or what is declared."""
        delta = 0 if self._last_time is None else time - self._last_time
        self._last_time = time
        known = declared or self._known_frame
        if delta <= 0:
            return known or self.frame or round(FRAME_GUESS_SECONDS * self.timescale)
        if known:
            return min(known, delta)
        return min(delta, 2 * self.frame) if self.frame else delta

    def _add(self, sample: Sample, time: int, shown: int) -> None:
        if self._times:
            decode = max(time, self._times[-1] + 1)
        else:
            decode = time if self.end is None else self.end
            self._chunk_capture_us = sample.capture_us
            if not self._part_open:
                self._part_open = True
                self._part_start = decode
        self.capture_us = sample.capture_us
        self._times.append(decode)
        self._shown.append(shown)
        self._sync.append(sample.keyframe)
        self._data.append(sample.data)
        self.shown_until = max(self.shown_until, shown + self.frame)

    def _write(self, out: list[Chunk], end: int, flags: int) -> None:
        """Write the open chunk up to about `end`: see above for where a part's end is put."""
        times = self._times
        end = max(end, times[-1] + 1)
        if not flags:
            end, flags = self._part_end(end)
        if self._sync[0]:
            flags |= _RANDOM_ACCESS
        self._sequence += 1
        durations = [after - time for time, after in zip(times, [*times[1:], end], strict=True)]
        offsets = None
        if not self.counted:
            offsets = [shown - time for shown, time in zip(self._shown, times, strict=True)]
            if not any(offsets):
                offsets = None
        head = write_fragment(
            self.number,
            self._sequence,
            times[0],
            durations,
            [len(data) for data in self._data],
            self._sync,
            offsets,
            self._chunk_capture_us,
            times[0] + (offsets[0] if offsets else 0),
        )
        media = b"".join((head, *self._data))
        self.end = end
        self._emit(out, media, flags, times[0], end - times[0], self._part, len(times), self._chunk_capture_us)
        self._times, self._shown, self._sync, self._data = [], [], [], []

    def _part_end(self, end: int) -> tuple[int, int]:
        """Return where a chunk that ends at about `end` really ends, and whether its part ends with it."""
        left = self._part_start + self._part_ticks - end
        if self.counted:
            return end, _PART if left < self.frame else 0
        half = self.frame // 2
        if -half <= left <= half and end + left > self._times[-1]:
            return end + left, _PART
        return end, _PART if left < 0 else 0

    def _emit(
        self,
        out: list[Chunk],
        media: bytes,
        flags: int,
        decode_time: int,
        duration: int,
        part: int,
        samples: int,
        capture_us: int,
    ) -> None:
        number, segment, epoch = self._chunk, self.segment, self._epoch
        header = RECORD_HEADER.pack(
            KIND_CHUNK, self.number, flags, number, epoch, segment, decode_time, duration, part, samples, capture_us
        )
        identity = ChunkId(epoch, self.number, segment, number)
        out.append(Chunk(header + media, identity, FLAGS[flags], decode_time, duration, part, samples, capture_us))
        self._chunk += 1
        if flags & _PART:
            self._part_open = False
            self._part = part + 1
        if flags & _SEGMENT:
            self.segment += 1
            self.segment_limit = NEVER
            self._chunk = self._part = 0
