"""Times that no clock has: the packager takes from them what can be, and goes on."""

from __future__ import annotations

import msgspec
import pytest

from support.feeds import AAC, VIDEO, audio, by_track, check_chunks, fragments, interleave, package, video
from support.fragments import parse_fragment

KEYFRAMES = [index % 25 == 0 for index in range(50)]


def test_sound_from_another_time_is_left_out() -> None:
    """Sound that came before the first picture and is stamped a day later has no place on the timeline."""
    stray = audio(3, start=48_000 * 86_400)
    feed = [*stray, *interleave(video(KEYFRAMES), audio(90))]
    chunks = package((VIDEO, AAC), feed)
    check_chunks(chunks, (VIDEO, AAC))
    assert sum(chunk.duration for chunk in by_track(chunks)[2]) == 90 * 1024


@pytest.mark.parametrize("away", [2**33, -(2**33), 2**62])
def test_a_picture_is_shown_near_its_decode_time(away: int) -> None:
    """Where a source says to show a picture in a day, it is shown when it is decoded."""
    feed = video(KEYFRAMES)
    feed[7] = msgspec.structs.replace(feed[7], pts=feed[7].pts + away)
    shown = [sample.presentation_time for one in fragments(package((VIDEO,), feed)) for sample in one.samples]
    assert [time - shown[0] for time in shown] == [sample.dts for sample in feed]


@pytest.mark.parametrize("duration", [2**40, -1])
def test_a_frame_does_not_last_for_days(duration: int) -> None:
    """Durations that cannot be are as good as none."""
    feed = interleave(video(KEYFRAMES), audio(90))
    odd = [msgspec.structs.replace(sample, duration=duration) for sample in feed]
    chunks = package((VIDEO, AAC), odd)
    check_chunks(chunks, (VIDEO, AAC))
    for own in by_track(chunks).values():
        whole = [parse_fragment(chunk.media) for chunk in own if chunk.media]
        assert sum(len(one.samples) for one in whole) == (50 if own[0].id.track == 1 else 90)
    assert sum(chunk.duration for chunk in by_track(chunks)[1]) == 50 * 3600
