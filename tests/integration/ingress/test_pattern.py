"""The test pattern, encoded and read back."""

from __future__ import annotations

import io
import time
from array import array

import av
import pytest

from headrace.clock import SystemClock
from headrace_ingress.cells import read_cells
from integration.ingress.rig import feeding


async def test_pictures_show_when_they_were_captured() -> None:
    """What a player decodes says when it was drawn, which is the capture time that travels beside it."""
    begun = time.time()
    async with feeding("test:?size=640x360") as watched:
        await watched.live(1.5)
    watched.check()
    assert watched.codecs == ["avc1.64001e", "mp4a.40.2"]
    with av.open(io.BytesIO(watched.file()), "r") as container:
        shown = []
        for frame in container.decode(video=0):
            plane = frame.planes[0]
            shown.append(read_cells(memoryview(plane), plane.line_size, frame.width))
    assert None not in shown
    assert [ms for ms in shown if ms is not None] == sorted(ms for ms in shown if ms is not None)
    captured = [chunk.capture_us // 1000 for chunk in watched.chunks() if chunk.samples]
    assert set(captured) <= set(shown)
    assert begun * 1000 - 1 <= captured[0] <= time.time() * 1000


async def test_it_beeps_when_a_second_begins() -> None:
    """On the media timeline, which is UTC, sound begins at full seconds."""
    async with feeding("test:?video=no") as watched:
        await watched.live(2.5)
    watched.check()
    with av.open(io.BytesIO(watched.file()), "r") as container:
        loud = []
        for frame in container.decode(audio=0):
            samples = array("f", bytes(frame.planes[0])[: frame.samples * 4])
            assert frame.pts is not None
            start = frame.pts / 48_000
            loud += [start + index / 48_000 for index, sample in enumerate(samples) if abs(sample) > 0.05]
    assert loud
    assert all(moment % 1 < 0.15 or moment % 1 > 0.95 for moment in loud)


@pytest.mark.parametrize(
    ("query", "tracks", "every"),
    [
        ("size=320x180&audio=no&gop=0&rate=30", 1, 1),
        ("size=320x180&gop=60", 2, None),
        ("size=320x180&rate=29.97", 2, None),
    ],
)
async def test_it_takes_options(query: str, tracks: int, every: int | None) -> None:
    """Tracks, frame rate and GOP are what was asked for; pictures come in real time."""
    clock = SystemClock()
    begun = clock.monotonic()
    async with feeding(f"test:?{query}") as watched:
        await watched.live(1.0)
        assert clock.monotonic() - begun > 0.8
        assert len(watched.broadcast.tracks) == tracks
    watched.check()
    if every == 1:
        assert all(chunk.random_access for chunk in watched.chunks() if chunk.samples)


async def test_a_long_gop_is_cut_into_segments() -> None:
    """With a GOP that is longer than the longest segment, segments end all the same."""
    uri = "test:?size=320x180&gop=60&audio=no"
    async with feeding(uri) as watched:
        await watched.live(6.5)
    watched.check()
    starts = [chunk for chunk in watched.chunks() if chunk.id.chunk == 0 and chunk.samples]
    assert len(starts) >= 2
    assert [chunk.random_access for chunk in starts[:2]] == [True, False]
