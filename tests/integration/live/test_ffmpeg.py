"""FFmpeg on a live MPD, which it reads again for each segment."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from headrace.identifiers import StreamName
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from integration.edge.rig import EdgeRig
from support.live_media import Publisher, make_clip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="FFmpeg is not installed"),
]


async def copy(rig: EdgeRig, seconds: float, file: Path) -> str:
    """Have FFmpeg copy so many seconds of the live MPD into a file; return what it said of its requests."""
    process = await asyncio.create_subprocess_exec(
        "ffmpeg", "-v", "verbose", "-i", f"http://{rig.address()}/live/demo/manifest.mpd", "-t", str(seconds),
        "-c", "copy", str(file), stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            _, said = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()[-2000:]
    return said.decode()


def times(file: Path) -> dict[int, list[float]]:
    """Return the presentation times of each stream in a file, in the order that they stand there."""
    show = ["ffprobe", "-v", "error", "-show_entries", "packet=stream_index,pts_time", "-of", "json", str(file)]
    packets = json.loads(subprocess.run(show, capture_output=True, check=True).stdout)["packets"]
    found: dict[int, list[float]] = {}
    for packet in packets:
        found.setdefault(packet["stream_index"], []).append(float(packet["pts_time"]))
    return found


@pytest.mark.parametrize(("gop_seconds", "seconds"), [(1, 14.0), (4, 14.0)], ids=["2 s segments", "4 s segments"])
async def test_ffmpeg_goes_on_from_reading_to_reading(
    rig: EdgeRig, tmp_path: Path, gop_seconds: int, seconds: float
) -> None:
    """Each picture and each piece of sound once and in its order, at the edge of live, without a request in vain."""
    clip = make_clip(320, 180, gop_seconds=gop_seconds)
    publisher = Publisher(rig.hub.produce(StreamName("demo")))
    await publisher.start(clip)
    try:
        await wait_until(lambda: len(segments(rig)) >= 2, 20)
        said = await copy(rig, seconds, tmp_path / "copy.mp4")
    finally:
        await publisher.stop()
    assert rig.value("live_requests_total", kind="manifest", status="200") >= 4
    assert "non-monoton" not in said.lower()
    assert "HTTP error" not in said
    found = times(tmp_path / "copy.mp4")
    assert sorted(found) == [0, 1]
    for stream, step in ((0, 1 / 25), (1, 1024 / 48_000)):
        steps = [later - time for time, later in itertools.pairwise(found[stream])]
        assert 0 < min(steps) <= max(steps) < 2 * step, (stream, min(steps), max(steps))
        assert found[stream][-1] - found[stream][0] > seconds - 1


async def test_ffmpeg_comes_to_the_end_of_what_has_ended(rig: EdgeRig, tmp_path: Path) -> None:
    """Who comes after the end gets all of it, and ends."""
    publisher = Publisher(rig.hub.produce(StreamName("demo")))
    await publisher.start(make_clip(320, 180))
    try:
        await wait_until(lambda: len(segments(rig)) >= 3, 20)
    finally:
        await publisher.stop()
    publisher.broadcast.set_state(StreamState.ENDED, "over")
    await copy(rig, 60.0, tmp_path / "copy.mp4")
    media = [entry for entry in publisher.broadcast.read(publisher.broadcast.replay()) if isinstance(entry, Chunk)]
    for stream, moments in times(tmp_path / "copy.mp4").items():
        assert len(moments) == sum(chunk.samples for chunk in media if chunk.id.track == stream + 1)


async def test_ffmpeg_crosses_into_the_next_period(rig: EdgeRig, tmp_path: Path) -> None:
    """It keeps the header of the Period that it began in, which is right while the publisher encodes as before."""
    clip = make_clip(320, 180)
    publisher = Publisher(rig.hub.produce(StreamName("demo")))
    await publisher.start(clip)
    try:
        await wait_until(lambda: len(segments(rig)) >= 2, 20)
        copying = asyncio.ensure_future(copy(rig, 18.0, tmp_path / "copy.mp4"))
        # Two segments of each track: it is on its way.
        await wait_until(lambda: rig.value("live_requests_total", kind="segment", status="200") >= 4, 30)
        await publisher.stop("the camera is away")
        await asyncio.sleep(1)
        await publisher.start(clip)
        said = await copying
    finally:
        await publisher.stop()
    assert "HTTP error" not in said
    for stream, moments in times(tmp_path / "copy.mp4").items():
        steps = [later - time for time, later in itertools.pairwise(moments)]
        assert min(steps) > 0, stream
        assert sum(step > 0.5 for step in steps) == 1, (stream, steps)


def segments(rig: EdgeRig) -> set[int]:
    """Return the numbers of the segments that are held of the stream."""
    broadcast = rig.hub.streams[StreamName("demo")]
    if broadcast.state.state is not StreamState.LIVE:
        return set()
    return {entry.id.segment for entry in broadcast.read(broadcast.replay()) if isinstance(entry, Chunk)}
