"""Cadence: nominal lengths fitted to whole frames."""

from __future__ import annotations

import pytest

from headrace.media.cadence import Cadence, cadence, frame_seconds, track_cadence
from headrace.media.samples import PackagerOptions
from headrace.wire.stream import Track
from support.feeds import AAC, OPUS, VARYING, VIDEO


@pytest.mark.parametrize(
    ("rate", "chunk_frames", "part_frames"),
    [(1, 1, 1), (10, 1, 5), (12.5, 1, 6), (24, 2, 12), (25, 2, 12), (30000 / 1001, 3, 15), (50, 5, 25), (60, 6, 30)],
)
def test_frames_of_video(rate: float, chunk_frames: int, part_frames: int) -> None:
    """A chunk is whole frames, a part whole chunks, both as near to what is asked as that allows."""
    rhythm = cadence(1 / rate, PackagerOptions())
    assert round(rhythm.chunk_seconds * rate, 6) == chunk_frames
    assert round(rhythm.part_seconds * rate, 6) == part_frames


def test_frames_of_audio() -> None:
    """AAC has 1024 samples a frame, Opus 20 ms."""
    rhythm = cadence(frame_seconds(AAC), PackagerOptions())
    assert (rhythm.chunk_seconds, rhythm.part_seconds) == pytest.approx((5 * 1024 / 48_000, 25 * 1024 / 48_000))
    assert round(cadence(frame_seconds(OPUS), PackagerOptions()).part_seconds, 6) == 0.5


def test_unknown_rates_go_by_time() -> None:
    """Where frames vary, the lengths asked for are the nominal ones."""
    assert track_cadence(VARYING, PackagerOptions()) == Cadence(0.1, 0.5)
    assert track_cadence(VARYING, PackagerOptions(chunk_seconds=1.0)) == Cadence(1.0, 1.0)


def test_a_track_keeps_what_it_declares() -> None:
    """Lengths in a track's description hold, whatever the options say."""
    track = Track(track=1, kind="video", codec="", timescale=90_000, header=b"x", chunk_seconds=0.2, part_seconds=0.6)
    assert track_cadence(track, PackagerOptions()) == Cadence(0.2, 0.6)
    assert track_cadence(VIDEO, PackagerOptions()).chunk_seconds == pytest.approx(0.08)
