"""The packager's decisions, one by one; what always holds is in test_packager_properties."""

from __future__ import annotations

import re
from dataclasses import replace

import msgspec
import pytest

from headrace.identifiers import Epoch
from headrace.media.packager import EpochStart, Packager, PackagerOptions, Sample, TimelineBroken
from headrace.media.silence import silent_frame
from headrace.wire.chunk import Chunk, Flag
from headrace.wire.stream import Track
from support.feeds import (
    AAC,
    OPUS,
    UTC,
    VIDEO,
    audio,
    by_track,
    captured_later,
    check_chunks,
    interleave,
    package,
    segment_ends,
    video,
)
from support.fragments import parse_fragment

OPTIONS = PackagerOptions()


def packager(*tracks: Track, earliest: float = 0.0, options: PackagerOptions = OPTIONS) -> Packager:
    return Packager(tracks, EpochStart(Epoch(7), 100, earliest), options)


def gop(frames: int, length: int) -> list[bool]:
    return [index % length == 0 for index in range(frames)]


def segments(chunks: list[Chunk]) -> list[float]:
    """Return the seconds of video in each segment."""
    lengths: dict[int, int] = {}
    for chunk in by_track(chunks)[1]:
        lengths[chunk.id.segment] = lengths.get(chunk.id.segment, 0) + chunk.duration
    return [ticks / 90_000 for ticks in lengths.values()]


# -- the timeline


def test_decode_times_begin_at_capture_time() -> None:
    """The first sample's decode time is its capture time in UTC, whatever the source's own origin is."""
    chunks = package((VIDEO,), video(gop(50, 50), start=123_456_789))
    assert chunks[0].decode_time == UTC * 90_000
    assert chunks[0].capture_us == UTC * 1_000_000
    assert parse_fragment(chunks[0].media).capture_us == UTC * 1_000_000


def test_decode_times_begin_after_the_last_epoch() -> None:
    """Where the epoch before ended later than the capture time, decode times go on there."""
    first = packager(VIDEO, AAC)
    for sample in interleave(video(gop(100, 50), reorder=2), audio(188)):
        first.push(sample)
    first.finish()
    assert first.next_segment == 102
    assert first.end_seconds >= UTC + 4.0
    chunks = package((VIDEO, AAC), interleave(video(gop(50, 50)), audio(94)), earliest=first.end_seconds)
    assert chunks[0].decode_time == round(first.end_seconds * 90_000)


def test_tracks_share_one_mapping() -> None:
    """Sound and picture of the same source time have the same time in the stream, to the tick."""
    chunks = by_track(package((VIDEO, AAC), interleave(video(gop(50, 50), start=90_000), audio(94, start=48_480))))
    assert chunks[1][0].decode_time == UTC * 90_000
    assert chunks[2][0].decode_time == UTC * 48_000 + 480


def test_no_frame_waits_for_the_next() -> None:
    """A chunk leaves with the sample that completes it."""
    maker = packager(VIDEO)
    feed = video(gop(10, 50))
    assert [len(maker.push(sample)) for sample in feed] == [0, 1] * 5


def test_a_late_frame_stretches_the_next_chunk() -> None:
    """The chunk before has left with its guess; the frame is shown when the source said."""
    feed = video(gop(6, 50), jitter=[0, 0, 5000, 5000, 5000, 5000])
    chunks = package((VIDEO,), feed)
    shown = [sample.presentation_time for chunk in chunks for sample in parse_fragment(chunk.media).samples]
    assert [time - shown[0] for time in shown] == [sample.pts for sample in feed]
    second = parse_fragment(chunks[1].media).samples
    assert (second[0].offset, second[0].duration) == (5000, 3600 + 5000)


@pytest.mark.parametrize(("jump", "seconds"), [(-90_000, -0.96), (2_000_000, 22.262), (-5_000_000, -55.516)])
def test_a_jump_of_the_source_breaks_the_timeline(jump: int, seconds: float) -> None:
    """A restarted source is told, the sample is not taken, and the epoch can be finished."""
    maker = packager(VIDEO, AAC)
    chunks = [chunk for sample in video(gop(20, 50)) for chunk in maker.push(sample)]
    with pytest.raises(TimelineBroken, match=re.escape(f"track 1 jumped by {seconds:+.3f} s")):
        maker.push(video([True], start=20 * 3600 + jump)[0])
    chunks += maker.finish()
    check_chunks(chunks, (VIDEO, AAC))
    assert sum(chunk.samples for chunk in chunks) == 20


def test_a_jump_of_sound_alone_breaks_the_timeline() -> None:
    """Sound that leaves the picture's time counts as restarted too."""
    maker = packager(VIDEO, AAC)
    for sample in interleave(video(gop(50, 50)), audio(90)):
        maker.push(sample)
    with pytest.raises(TimelineBroken, match="track 2"):
        maker.push(audio(1, start=48_000 * 60)[0])


def test_an_unknown_track_is_an_error() -> None:
    """A sample of a track that the stream does not have is a mistake of the caller."""
    with pytest.raises(KeyError):
        packager(VIDEO).push(audio(1)[0])


# -- the beginning


def test_nothing_comes_before_the_first_keyframe() -> None:
    """Frames before it, and sound of their time, are dropped and counted."""
    maker = packager(VIDEO, AAC)
    points = [False] * 10 + [True] + [False] * 30
    chunks = [c for s in interleave(video(points), audio(70)) for c in maker.push(s)] + maker.finish()
    tracks = by_track(chunks)
    assert tracks[1][0].random_access
    assert tracks[1][0].id.chunk == 0
    assert tracks[2][0].decode_time * 90_000 >= tracks[1][0].decode_time * 48_000
    assert maker.dropped == 10 + 19
    check_chunks(chunks, (VIDEO, AAC))


def test_sound_that_comes_first_is_kept_for_the_keyframe() -> None:
    """Sound of the first keyframe's time may arrive before it."""
    maker = packager(VIDEO, AAC)
    chunks = [chunk for sample in audio(10) + video(gop(30, 50)) for chunk in maker.push(sample)] + maker.finish()
    assert sum(chunk.samples for chunk in by_track(chunks)[2]) == 10


def test_without_a_keyframe_nothing_is_kept_for_long() -> None:
    """Sound before the first keyframe is held for no longer than `hold_seconds`."""
    maker = packager(VIDEO, AAC)
    assert not [chunk for sample in audio(1000) for chunk in maker.push(sample)]
    assert maker.dropped > 950
    assert maker.finish() == []
    assert (maker.next_segment, maker.end_seconds) == (100, 0.0)


# -- segments


def test_segments_are_whole_groups() -> None:
    """A segment is cut at the first keyframe from the target on."""
    assert segments(package((VIDEO,), video(gop(300, 50)))) == pytest.approx([2.0] * 6)
    assert segments(package((VIDEO,), video(gop(300, 30)))) == pytest.approx([2.4] * 5)
    assert segments(package((VIDEO,), video(gop(300, 25)))) == pytest.approx([2.0] * 6)


def test_half_a_frame_early_is_near_enough() -> None:
    """A group that is a few ticks short of the target does not make the segment twice as long."""
    feed = video(gop(100, 50), jitter=[0] * 50 + [-100] * 50)
    assert segments(package((VIDEO,), feed)) == pytest.approx([2.0, 2.0], abs=0.01)


def test_a_long_group_is_cut_inside() -> None:
    """A group of a minute is cut at the longest segment, and only the true beginnings say random access."""
    chunks = package((VIDEO, AAC), interleave(video(gop(1600, 1500)), audio(3000)))
    check_chunks(chunks, (VIDEO, AAC))
    assert segments(chunks) == pytest.approx([6.0] * 10 + [4.0])
    points = [c.id.segment for c in by_track(chunks)[1] if c.random_access]
    assert points == [100, 110]
    assert len(segment_ends(by_track(chunks)[2])) == 11


def test_all_intra_feeds_keep_their_chunks() -> None:
    """Where every frame is a keyframe, chunks still hold several and segments have the target's length."""
    chunks = package((VIDEO,), video([True] * 150))
    assert {chunk.samples for chunk in chunks if chunk.media} == {2}
    assert segments(chunks) == pytest.approx([2.0] * 3)
    assert all(chunk.random_access for chunk in chunks if chunk.media)


def test_a_keyframe_begins_a_chunk() -> None:
    """An open chunk is sent short rather than let a keyframe hide in it."""
    chunks = package((VIDEO,), video(gop(10, 5)))
    assert [(chunk.samples, chunk.random_access) for chunk in chunks] == [
        (2, True),
        (2, False),
        (1, False),
        (2, True),
        (2, False),
        (1, False),
    ]


def test_an_end_that_is_known_in_time_needs_no_extra_chunk() -> None:
    """Sound alone is cut by its count: the last chunk of a segment has media."""
    chunks = package((OPUS,), audio(200, frame=960))
    assert all(chunk.media for chunk in chunks)
    assert [chunk.id.segment for chunk in chunks if chunk.ends_segment] == [100, 101]
    assert segment_ends(chunks)[0] == UTC * 48_000 + 96_000


def test_an_end_that_is_known_late_is_told_without_media() -> None:
    """The chunk before the keyframe has left; an empty one closes the segment in the last part."""
    chunks = package((VIDEO,), video(gop(52, 50)))
    closing = next(chunk for chunk in chunks if chunk.id.segment == 100 and chunk.ends_segment)
    before = chunks[chunks.index(closing) - 1]
    assert not closing.media
    assert closing.flags == Flag.END_OF_PART | Flag.END_OF_SEGMENT
    assert (closing.duration, closing.samples) == (0, 0)
    assert closing.decode_time == before.decode_time + before.duration
    assert (closing.id.chunk, closing.part) == (before.id.chunk + 1, before.part)


def test_a_closing_chunk_has_no_part_of_its_own() -> None:
    """Where the last part was complete, the closing chunk stays in it: no part is without media."""
    chunks = package((VIDEO,), video(gop(70, 60)))
    closing = next(chunk for chunk in chunks if not chunk.media)
    before = chunks[chunks.index(closing) - 1]
    assert before.flags & Flag.END_OF_PART
    assert closing.part == before.part


# -- sound beside the picture


def test_sound_is_cut_where_the_picture_is() -> None:
    """Each segment's sound ends at the frame border nearest to the cut, however late or early it arrives."""
    for lag in (0.0, 0.3, -0.2):
        feed = sorted(
            [*video(gop(200, 50)), *audio(375)],
            key=lambda sample: sample.dts / 90_000 if sample.track == 1 else sample.dts / 48_000 + lag,
        )
        tracks = by_track(package((VIDEO, AAC), feed))
        for picture, sound in zip(segment_ends(tracks[1]), segment_ends(tracks[2]), strict=True):
            assert abs(picture / 90_000 - sound / 48_000) <= 1024 / 48_000 / 2 + 1e-6


def test_sound_does_not_wait_longer_than_told() -> None:
    """While the picture is away sound goes on, `hold_seconds` late, and segments are cut at the longest length."""
    maker = packager(VIDEO, AAC)
    chunks = [chunk for sample in interleave(video(gop(50, 50)), audio(94)) for chunk in maker.push(sample)]
    late = [chunk for sample in audio(800, start=94 * 1024) for chunk in maker.push(sample)]
    sent = late[-1].decode_time + late[-1].duration - UTC * 48_000
    assert sent > 894 * 1024 - 48_000 * (OPTIONS.hold_seconds + 0.2)
    chunks += late + maker.finish()
    check_chunks(chunks, (VIDEO, AAC))
    assert {chunk.id.segment for chunk in chunks} == {100, 101, 102, 103}


def test_the_picture_comes_back() -> None:
    """After some seconds without video the stream goes on where the source says."""
    later = captured_later(video([True] + [False] * 40, start=50 * 3600 + 5 * 90_000), 7.0)
    chunks = package((VIDEO, AAC), interleave(video(gop(50, 50)), audio(600), later))
    check_chunks(chunks, (VIDEO, AAC))
    shown = [s.presentation_time for c in by_track(chunks)[1] if c.media for s in parse_fragment(c.media).samples]
    assert shown[50] - shown[0] == 50 * 3600 + 5 * 90_000


def test_missing_sound_leaves_no_hole() -> None:
    """A track that never has anything gets one empty chunk for each segment, at the time of the cut."""
    chunks = by_track(package((VIDEO, AAC), video(gop(150, 50))))
    assert [(chunk.id.segment, chunk.id.chunk, chunk.samples) for chunk in chunks[2]] == [
        (100, 0, 0),
        (101, 0, 0),
        (102, 0, 0),
    ]
    assert [chunk.decode_time for chunk in chunks[2]] == [(UTC + seconds) * 48_000 for seconds in (2, 4, 6)]
    assert all(chunk.capture_us > UTC * 1_000_000 for chunk in chunks[2])


STEREO = msgspec.structs.replace(AAC, channels=2)
SILENCE = silent_frame(STEREO)


def heard(chunks: list[Chunk]) -> list[tuple[int, bytes]]:
    """Return when each frame of sound begins, in frames of AAC after the epoch's beginning, and its bytes."""
    samples = [s for c in by_track(chunks)[2] if c.media for s in parse_fragment(c.media).samples]
    return [((s.decode_time - UTC * 48_000) // 1024, bytes(s.data)) for s in samples]


def test_sound_that_never_comes_is_silence() -> None:
    """A player that waits for all tracks gets them all, no later than `hold_seconds` after the picture."""
    maker = packager(VIDEO, STEREO)
    chunks = [chunk for sample in video(gop(150, 50)) for chunk in maker.push(sample)]
    frames = heard(chunks)
    assert [number for number, _ in frames] == list(range(len(frames)))
    assert {data for _, data in frames} == {SILENCE}
    assert len(frames) * 1024 / 48_000 > 6 - OPTIONS.hold_seconds
    check_chunks(chunks + maker.finish(), (VIDEO, STEREO))


def test_lost_sound_is_silence_until_it_is_back() -> None:
    """Silence takes over where sound ended, and sound where it comes back; nothing overlaps."""
    sound = audio(50) + audio(100, start=200 * 1024)
    chunks = package((VIDEO, STEREO), interleave(video(gop(160, 50)), sound))
    check_chunks(chunks, (VIDEO, STEREO))
    frames = heard(chunks)
    assert {number for number, data in frames if data == SILENCE} == set(range(50, 200))
    assert {number for number, data in frames if data != SILENCE} == {*range(50), *range(200, 300)}
    for picture, other in zip(*(segment_ends(by_track(chunks)[number]) for number in (1, 2)), strict=True):
        assert abs(picture / 90_000 - other / 48_000) <= 1024 / 48_000


def test_sound_that_is_only_late_is_not_replaced() -> None:
    """Sound may be later than `hold_seconds` for good: as long as it comes it is heard."""
    feed = sorted(
        [*video(gop(200, 50)), *audio(375)],
        key=lambda sample: sample.dts / 90_000 if sample.track == 1 else sample.dts / 48_000 + 0.45,
    )
    frames = heard(package((VIDEO, STEREO), feed))
    assert SILENCE not in {data for _, data in frames}
    assert len(frames) == 375


def test_a_step_forward_while_no_time_passed_is_a_jump() -> None:
    """A clock that was set forward begins a new epoch at UTC; a pause, in which time passed, does not."""
    maker = packager(VIDEO)
    for sample in video(gop(50, 50)):
        maker.push(sample)
    (later,) = video([True], start=50 * 3600 + 2 * 90_000)
    with pytest.raises(TimelineBroken, match="jumped by"):
        maker.push(*captured_later([later], 2.04))
    maker.push(*captured_later([later], 4.0))


def test_no_segment_is_longer_than_the_longest() -> None:
    """A pause that would make a segment too long begins a new epoch; a shorter one does not."""
    feed = video(gop(50, 50)) + captured_later(video(gop(150, 50), start=50 * 3600 + 5 * 90_000), 7.0)
    chunks = package((VIDEO,), feed)
    check_chunks(chunks, (VIDEO,))
    assert max(segments(chunks)) <= OPTIONS.segment_max_seconds + 0.04
    maker = packager(VIDEO)
    for sample in video(gop(50, 50)):
        maker.push(sample)
    with pytest.raises(TimelineBroken):
        maker.push(video([True], start=50 * 3600 + 6 * 90_000)[0])


def test_jitter_of_sound_is_ignored() -> None:
    """Frames stamped up to 20 ms off their count are counted all the same."""
    chunks = package((AAC,), audio(200, jitter=[(index * 37) % 400 - 200 for index in range(200)]))
    durations = {s.duration for chunk in chunks for s in parse_fragment(chunk.media).samples}
    assert durations == {1024}


def test_a_gap_in_sound_is_stretched_over() -> None:
    """Decode times go on to the tick; after the gap sound is where it belongs."""
    chunks = package((AAC,), audio(52) + audio(50, start=52 * 1024 + 24_000))
    check_chunks(chunks, (AAC,))
    last = chunks[-1]
    assert last.decode_time + last.duration == UTC * 48_000 + 102 * 1024 + 24_000
    stretched = [s.duration for chunk in chunks for s in parse_fragment(chunk.media).samples if s.duration != 1024]
    assert stretched == [1024 + 24_000]


def test_sound_that_overlaps_is_dropped() -> None:
    """Frames that were heard already are left out and counted."""
    maker = packager(AAC)
    feed = audio(60) + audio(40, start=57 * 1024)
    chunks = [chunk for sample in feed for chunk in maker.push(sample)] + maker.finish()
    assert maker.dropped == 3
    assert sum(chunk.duration for chunk in chunks) == 97 * 1024


def test_two_renditions_are_cut_alike() -> None:
    """The first video track leads; another with the same keyframes has them at the same segments."""
    other = msgspec.structs.replace(VIDEO, track=3)
    feed = video(gop(120, 50))
    second = [msgspec.structs.replace(sample, track=3) for sample in feed]
    chunks = package((VIDEO, other), [sample for pair in zip(feed, second, strict=True) for sample in pair])
    check_chunks(chunks, (VIDEO, other))
    tracks = by_track(chunks)
    assert segment_ends(tracks[1]) == segment_ends(tracks[3])
    assert [c.id.segment for c in tracks[3] if c.random_access] == [100, 101, 102]


# -- settings and order


def test_a_chunk_may_be_a_frame_or_a_segment() -> None:
    """`chunk_seconds` goes from one frame to a whole segment."""
    feed = video(gop(100, 50))
    frames = package((VIDEO,), feed, replace(OPTIONS, chunk_seconds=0.01))
    assert {chunk.samples for chunk in frames if chunk.media} == {1}
    whole = package((VIDEO,), feed, replace(OPTIONS, chunk_seconds=2.0, part_seconds=2.0))
    assert [chunk.samples for chunk in whole if chunk.media] == [50, 50]


def test_sound_and_picture_leave_together() -> None:
    """In the order of sending no track is ahead of the other by much more than a chunk."""
    chunks = package((VIDEO, AAC), interleave(video(gop(200, 50)), audio(375)))
    ends = {1: float(UTC), 2: float(UTC)}
    for chunk in chunks:
        timescale = 90_000 if chunk.id.track == 1 else 48_000
        ends[chunk.id.track] = (chunk.decode_time + chunk.duration) / timescale
        assert abs(ends[1] - ends[2]) < 0.25


def test_sound_ends_its_chunks_where_the_picture_does() -> None:
    """With each chunk of the lead leaves all sound up to there, so whoever waits for one has both."""
    sut, ends = packager(VIDEO, AAC), []
    for sample in interleave(video(gop(100, 50)), audio(188)):
        chunks = sut.push(sample)
        if any(chunk.id.track == 1 for chunk in chunks):
            ends.append({chunk.id.track: (chunk.decode_time + chunk.duration) for chunk in chunks})
    together = [tracks[1] / 90_000 - tracks[2] / 48_000 for tracks in ends if 2 in tracks]
    assert len(together) >= 0.8 * len(ends)
    assert max(together) < 0.04 + 2 * 1024 / 48_000


def test_the_outlook_says_when_the_next_chunk_can_be_complete() -> None:
    """After a chunk it is known which sample of the picture completes the next one."""
    sut = packager(VIDEO, AAC)
    assert packager(VIDEO).outlook is None
    due, right, wrong = 0.0, 0, 0
    for sample in interleave(video(gop(100, 50)), audio(188)):
        chunks = sut.push(sample)
        if sample.track == 1 and any(chunk.id.track == 1 for chunk in chunks):
            right += abs(due - sample.dts / 90_000) < 0.001
            wrong += due > sample.dts / 90_000 + 0.001
            outlook = sut.outlook
            newest, due = outlook if outlook is not None else (0.0, 0.0)
            assert newest in {0.0, sample.dts / 90_000}
    assert right > 30
    assert wrong == 0


def test_parts_of_a_known_rate_are_a_fixed_number_of_frames() -> None:
    """Twelve frames at 25 a second, 25 frames of AAC: the last of a segment may be shorter."""
    tracks = by_track(package((VIDEO, AAC), interleave(video(gop(100, 50)), audio(188))))
    for number, frames in ((1, 12), (2, 25)):
        counts: dict[tuple[int, int], int] = {}
        for chunk in tracks[number]:
            key = (chunk.id.segment, chunk.part)
            counts[key] = counts.get(key, 0) + chunk.samples
        for (segment, part), count in counts.items():
            assert count == frames or (segment, part + 1) not in counts
            assert count <= frames


def test_a_stream_has_a_track() -> None:
    """Without tracks there is nothing to package."""
    with pytest.raises(ValueError, match="at least one"):
        packager()


def test_samples_are_values() -> None:
    """A sample cannot be changed after it was made."""
    with pytest.raises(AttributeError):
        video([True])[0].pts = 1  # type: ignore[misc]
    assert isinstance(video([True])[0], Sample)
