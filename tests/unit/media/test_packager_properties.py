"""What holds for every feed, however it is made."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from headrace.media.packager import PackagerOptions, Sample
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track
from support.feeds import (
    AAC,
    OPUS,
    VARYING,
    VIDEO,
    audio,
    by_track,
    check_chunks,
    fragments,
    interleave,
    package,
    segment_ends,
    video,
)

UNHURRIED = hypothesis_settings(deadline=None, max_examples=60)
"""An example packages some seconds of media, on a machine that does other things too."""

JITTER = st.lists(st.integers(-1500, 1500), max_size=200)


@st.composite
def keyframes(draw: st.DrawFn) -> list[bool]:
    """Groups of pictures of any lengths, perhaps in the middle of one."""
    groups = draw(st.lists(st.integers(1, 70), min_size=1, max_size=8))
    frames = [index == 0 for group in groups for index in range(group)]
    return frames[draw(st.integers(0, 20)) :] or [True]


@st.composite
def options(draw: st.DrawFn) -> PackagerOptions:
    chunk = draw(st.sampled_from([0.02, 0.04, 0.1, 0.25, 2.0]))
    return PackagerOptions(
        chunk_seconds=chunk,
        part_seconds=draw(st.sampled_from([0.2, 0.5, 1.0])),
        segment_seconds=draw(st.sampled_from([0.5, 1.0, 2.0])),
        segment_max_seconds=draw(st.sampled_from([2.0, 6.0])),
        hold_seconds=draw(st.sampled_from([0.1, 0.5])),
    )


def presented(chunks: Sequence[Chunk]) -> list[tuple[bytes, int]]:
    """Return each sample's bytes and presentation time."""
    return [
        (bytes(sample.data), sample.presentation_time) for fragment in fragments(chunks) for sample in fragment.samples
    ]


def check_video(feed: Sequence[Sample], chunks: Sequence[Chunk], track: Track) -> None:
    """Every frame from the first keyframe on is there once, and is shown exactly when the source said."""
    first = next((index for index, sample in enumerate(feed) if sample.keyframe), len(feed))
    taken = feed[first:]
    out = presented(by_track(chunks)[1])
    assert [data for data, _ in out] == [sample.data for sample in taken]
    if taken:
        shift = out[0][1] - taken[0].pts
        assert [time - shift for _, time in out] == [sample.pts for sample in taken]
        assert by_track(chunks)[1][0].random_access


@UNHURRIED
@given(keyframes(), st.integers(0, 2), JITTER, options(), st.sampled_from([VIDEO, VARYING]))
def test_video_alone(
    points: list[bool], reorder: int, jitter: list[int], settings: PackagerOptions, track: Track
) -> None:
    """Any groups of pictures with B-frames and jitter come out whole, without holes, at their exact times."""
    feed = video(points, reorder=reorder, jitter=jitter)
    chunks = package((track,), feed, settings)
    check_chunks(chunks, (track,))
    check_video(feed, chunks, track)


@UNHURRIED
@given(keyframes(), st.integers(0, 400), st.integers(-20_000, 100_000), options(), st.sampled_from([AAC, OPUS]))
def test_video_and_audio(points: list[bool], count: int, start: int, settings: PackagerOptions, track: Track) -> None:
    """Audio that begins and ends anywhere, or is missing, leaves no hole and is cut where video is cut."""
    feed = video(points)
    sound = audio(count, frame=1024 if track is AAC else 960, start=start)
    chunks = package((VIDEO, track), interleave(feed, sound), settings)
    check_chunks(chunks, (VIDEO, track))
    check_video(feed, chunks, VIDEO)
    tracks = by_track(chunks)
    heard = [time for _, time in presented(tracks[2])]
    if not heard:
        return
    assert [time - heard[0] for time in heard] == [index * sound[0].duration for index in range(len(heard))]
    shown = tracks[1][-1].decode_time + tracks[1][-1].duration
    for cut, own in zip(segment_ends(tracks[1])[:-1], segment_ends(tracks[2])[:-1], strict=True):
        if cut < shown and heard[0] / 48_000 < cut / 90_000 < (heard[-1] + sound[0].duration) / 48_000:
            assert abs(cut / 90_000 - own / 48_000) <= sound[0].duration / 48_000 / 2 + 1e-4


@UNHURRIED
@given(keyframes(), st.lists(st.tuples(st.integers(0, 120), st.integers(0, 400)), max_size=4), options())
def test_sound_that_comes_and_goes(points: list[bool], runs: list[tuple[int, int]], settings: PackagerOptions) -> None:
    """However sound comes and goes, with silence for it there is sound for every picture but the newest."""
    track = msgspec.structs.replace(AAC, channels=2)
    sound: list[Sample] = []
    at = 0
    for pause, count in runs:
        sound += audio(count, start=(at + pause) * 1024)
        at += pause + count
    feed = video(points)
    chunks = package((VIDEO, track), interleave(feed, sound), settings)
    check_chunks(chunks, (VIDEO, track))
    check_video(feed, chunks, VIDEO)
    if not chunks:
        return
    tracks = by_track(chunks)
    last = {number: own[-1].decode_time + own[-1].duration for number, own in tracks.items()}
    assert last[2] / 48_000 >= last[1] / 90_000 - settings.hold_seconds - settings.chunk_seconds - settings.part_seconds


@UNHURRIED
@given(st.integers(1, 600), st.lists(st.integers(-400, 400), max_size=600), options(), st.sampled_from([AAC, OPUS]))
def test_audio_alone(count: int, jitter: list[int], settings: PackagerOptions, track: Track) -> None:
    """Audio alone is cut by time, every chunk is a random access point, and small jitter is ignored."""
    frame = 1024 if track is AAC else 960
    chunks = package((track,), audio(count, frame=frame, jitter=jitter), settings)
    check_chunks(chunks, (track,))
    assert all(chunk.random_access for chunk in chunks if chunk.media)
    assert sum(chunk.samples for chunk in chunks) == count
    assert sum(chunk.duration for chunk in chunks) == count * frame
    for segment in {chunk.id.segment for chunk in chunks[:-1]} - {chunks[-1].id.segment}:
        ticks = sum(chunk.duration for chunk in chunks if chunk.id.segment == segment)
        assert abs(ticks - settings.segment_seconds * 48_000) <= frame / 2 + 1


@UNHURRIED
@given(st.integers(60, 300), st.sampled_from([12, 25, 30, 50, 60]), st.integers(1, 90))
def test_parts_fit_ll_hls(count: int, rate: int, group: int) -> None:
    """With a fixed rate no part is over the target, and none but a segment's last is under 85 % of it."""
    track = Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"x", frame_rate=rate)
    feed = video([index % group == 0 for index in range(count)], frame=90_000 // rate)
    chunks = package((track,), feed)
    check_chunks(chunks, (track,))
    check_parts(chunks, part_lengths(chunks))


@UNHURRIED
@given(st.integers(30, 300), JITTER)
def test_jitter_makes_no_part_too_long(count: int, jitter: list[int]) -> None:
    """Jitter under half a frame moves frames inside a part, but not the part's length."""
    chunks = package((VIDEO,), video([index % 50 == 0 for index in range(count)], jitter=jitter))
    check_parts(chunks, part_lengths(chunks))


def part_lengths(chunks: Sequence[Chunk]) -> dict[tuple[int, int], int]:
    """Return how many ticks each part has, by segment and part number."""
    lengths: dict[tuple[int, int], int] = {}
    for chunk in chunks:
        key = (chunk.id.segment, chunk.part)
        lengths[key] = lengths.get(key, 0) + chunk.duration
    return lengths


def check_parts(chunks: Sequence[Chunk], lengths: dict[tuple[int, int], int]) -> None:
    target = max(lengths.values())
    for (segment, part), ticks in lengths.items():
        if (segment, part + 1) in lengths:
            assert ticks >= 0.85 * target


@UNHURRIED
@given(keyframes())
def test_all_in_order(points: list[bool]) -> None:
    """For every track chunks leave in the order of their identity."""
    for own in by_track(package((VIDEO, AAC), interleave(video(points), audio(500)))).values():
        assert own == sorted(own, key=lambda chunk: chunk.id.position)
