"""Made-up feeds for the packager, and what must hold for whatever it makes of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import msgspec

from headrace.identifiers import Epoch
from headrace.media.packager import EpochStart, Packager, PackagerOptions, Sample
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track
from support.fragments import Fragment, parse_fragment

UTC = 1_763_600_000
"""Seconds since 1970 at which feeds begin: decode times of the size of real ones."""

VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"x", frame_rate=25.0)
VARYING = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"x")
AAC = Track(track=2, kind="audio", codec="mp4a.40.2", timescale=48_000, header=b"x", sample_rate=48_000)
OPUS = Track(track=2, kind="audio", codec="opus", timescale=48_000, header=b"x", sample_rate=48_000)


def video(
    keyframes: Sequence[bool], *, frame: int = 3600, reorder: int = 0, jitter: Sequence[int] = (), start: int = 0
) -> list[Sample]:
    """Return a video feed, one sample for each of `keyframes`.

    Args:
        keyframes: whether each frame is one.
        frame: nominal ticks between frames.
        reorder: presentation is up to so many frames after decoding.
        jitter: ticks added to the times of each frame; shorter than a frame.
        start: dts of the first frame.
    """
    samples = []
    for index, keyframe in enumerate(keyframes):
        dts = start + index * frame + (jitter[index] if index < len(jitter) else 0)
        delay = reorder * frame if keyframe or index % 2 else 0
        samples.append(Sample(1, dts + delay, dts, frame, keyframe, b"v%d" % index, _utc(dts - start, 90_000)))
    return samples


def audio(count: int, *, frame: int = 1024, start: int = 0, track: int = 2, jitter: Sequence[int] = ()) -> list[Sample]:
    """Return an audio feed of `count` frames of `frame` ticks at 48 kHz, the first at `start`."""
    samples = []
    for index in range(count):
        dts = start + index * frame + (jitter[index] if index < len(jitter) else 0)
        samples.append(Sample(track, dts, dts, frame, True, b"a%d" % index, _utc(dts, 48_000)))
    return samples


def _utc(ticks: int, timescale: int) -> int:
    return UTC * 1_000_000 + ticks * 1_000_000 // timescale


def captured_later(samples: Sequence[Sample], seconds: float) -> list[Sample]:
    """Return samples that were captured so many seconds later than they say."""
    later = round(seconds * 1_000_000)
    return [msgspec.structs.replace(sample, capture_us=sample.capture_us + later) for sample in samples]


def seconds(sample: Sample) -> float:
    """Return a sample's decode time in seconds: video has 90,000 ticks, all else 48,000."""
    return sample.dts / (90_000 if sample.track == 1 else 48_000)


def interleave(*feeds: Sequence[Sample]) -> list[Sample]:
    """Return the samples of all feeds in order of decode time."""
    return sorted((sample for feed in feeds for sample in feed), key=seconds)


def package(
    tracks: tuple[Track, ...],
    samples: Iterable[Sample],
    options: PackagerOptions | None = None,
    earliest: float = 0.0,
) -> list[Chunk]:
    """Return all chunks of one epoch whose first segment is 100."""
    packager = Packager(tracks, EpochStart(Epoch(7), 100, earliest), options or PackagerOptions())
    chunks = [chunk for sample in samples for chunk in packager.push(sample)]
    return chunks + packager.finish()


def by_track(chunks: Iterable[Chunk]) -> dict[int, list[Chunk]]:
    """Return the chunks of each track in order."""
    tracks: dict[int, list[Chunk]] = defaultdict(list)
    for chunk in chunks:
        tracks[chunk.id.track].append(chunk)
    return tracks


def fragments(chunks: Iterable[Chunk]) -> list[Fragment]:
    """Return what the chunks with media say about themselves."""
    return [parse_fragment(chunk.media) for chunk in chunks if chunk.media]


def segment_ends(chunks: Iterable[Chunk]) -> list[int]:
    """Return where each segment of one track ends, in ticks."""
    return [chunk.decode_time + chunk.duration for chunk in chunks if chunk.ends_segment]


def check_chunks(chunks: Sequence[Chunk], tracks: Sequence[Track]) -> None:
    """Assert what docs/protocol.md, section 2, promises of the chunks of one epoch that was finished."""
    found = by_track(chunks)
    if chunks:
        assert set(found) == {track.track for track in tracks}
        assert len({(own[0].id.segment, own[-1].id.segment) for own in found.values()}) == 1
    for own in found.values():
        assert own[0].id[2:] == (100, 0)
        assert own[-1].ends_segment
        for chunk, following in pairwise(own):
            assert chunk.is_followed_by(following.id)
        _check_times(own)
        _check_parts(own)
        for chunk in own:
            _check_media(chunk)
        sequences = [fragment.sequence for fragment in fragments(own)]
        assert sequences == list(range(1, len(sequences) + 1))


def _check_times(chunks: Sequence[Chunk]) -> None:
    """Decode times go on to the tick; before a track's first media nothing is there to go on from."""
    begun = False
    for chunk, following in pairwise(chunks):
        begun = begun or bool(chunk.media)
        if begun:
            assert following.decode_time == chunk.decode_time + chunk.duration


def _check_parts(chunks: Sequence[Chunk]) -> None:
    part, ended = 0, False
    for chunk in chunks:
        if chunk.media:
            assert chunk.part == part + ended
            part, ended = chunk.part, bool(chunk.flags & 2)
        else:
            assert chunk.part == part
            assert chunk.flags == 6
        if chunk.ends_segment:
            assert chunk.flags & 2
            part, ended = 0, False


def _check_media(chunk: Chunk) -> None:
    """A chunk's record and its boxes say the same."""
    if not chunk.media:
        assert (chunk.duration, chunk.samples) == (0, 0)
        return
    fragment = parse_fragment(chunk.media)
    assert fragment.track == chunk.id.track
    assert fragment.decode_time == chunk.decode_time
    assert fragment.capture_us == chunk.capture_us
    assert len(fragment.samples) == chunk.samples > 0
    assert sum(sample.duration for sample in fragment.samples) == chunk.duration
    assert all(sample.duration >= 1 for sample in fragment.samples)
    assert fragment.samples[0].sync == chunk.random_access
