"""Chunks in a real browser: Media Source Extensions, one SourceBuffer, one combined header, times of UTC's size."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from headrace.identifiers import Epoch
from headrace.media.packager import EpochStart, Packager, PackagerOptions, Sample
from support.browser import open_page, requires_chromium
from support.media_files import UTC, Packaged, Recipe, make_file, package_file

pytestmark = [pytest.mark.browser, requires_chromium]

PLAY = """async ({ type, pieces }) => {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const video = document.createElement('video');
  video.muted = true;
  document.body.append(video);
  const source = new MediaSource();
  video.src = URL.createObjectURL(source);
  await new Promise((done) => source.addEventListener('sourceopen', done, { once: true }));
  const buffer = source.addSourceBuffer(type);
  let ranges = 0;
  for (const piece of pieces) {
    buffer.appendBuffer(bytes(piece));
    await new Promise((done, failed) => {
      buffer.addEventListener('updateend', done, { once: true });
      buffer.addEventListener('error', () => failed(new Error('append failed')), { once: true });
    });
    ranges = Math.max(ranges, buffer.buffered.length);
  }
  const begin = buffer.buffered.start(0), end = buffer.buffered.end(0);
  source.endOfStream();
  let stalls = 0, last = null;
  video.currentTime = begin;
  await new Promise((done) => video.addEventListener('seeked', done, { once: true }));
  video.addEventListener('waiting', () => { stalls += 1; });
  video.play();
  await new Promise((done, failed) => {
    video.addEventListener('ended', done, { once: true });
    video.addEventListener('error', () => failed(new Error(video.error.message)), { once: true });
    setTimeout(() => failed(new Error(`stuck at ${video.currentTime - begin} of ${end - begin}`)), 20000);
  });
  const { totalVideoFrames } = video.getVideoPlaybackQuality();
  return { ranges, begin, end, stalls, played: video.currentTime - begin, frames: totalVideoFrames };
}"""

FAST = (("tune", "zerolatency"), ("preset", "ultrafast"))

RECIPES = {
    "h264-aac": Recipe(options=FAST),
    "b-frames": Recipe(options=(("bf", "2"), ("preset", "veryfast"))),
    "h264-opus": Recipe(audio="libopus", options=FAST),
    "video-alone": Recipe(audio="", options=FAST),
    "audio-alone": Recipe(video="", container="adts"),
    "mpegts": Recipe(options=FAST, container="mpegts"),
}


async def play(packaged: Packaged) -> dict[str, Any]:
    """Append everything chunk by chunk, play it from the first to the last frame, and return what happened."""
    codecs = ",".join(track.codec for track in packaged.tracks)
    kind = "video" if packaged.tracks[0].kind == "video" else "audio"
    pieces = [packaged.header(), *(bytes(chunk.media) for chunk in packaged.chunks if chunk.media)]
    async with open_page("about:blank") as browser:
        return dict(
            await browser.page.evaluate(
                PLAY,
                {
                    "type": f'{kind}/mp4; codecs="{codecs}"',
                    "pieces": [base64.b64encode(piece).decode() for piece in pieces],
                },
            )
        )


STALLS_MAX = 3
"""Waits of a decoder that a machine with other work may cost; a hole shows as a second range and ends the playing."""


def check(result: dict[str, Any], seconds: float) -> None:
    assert result["ranges"] == 1
    assert result["stalls"] <= STALLS_MAX
    assert abs(result["begin"] - UTC) < 0.5
    assert result["end"] - result["begin"] == pytest.approx(seconds, abs=0.2)
    assert result["played"] == pytest.approx(result["end"] - result["begin"], abs=0.1)


@pytest.mark.parametrize("name", RECIPES)
async def test_chunks_play_without_a_hole(name: str, tmp_path: Path) -> None:
    """One buffered range from the first chunk to the last, played through without waiting."""
    packaged = package_file(make_file(tmp_path / name, RECIPES[name]))
    result = await play(packaged)
    check(result, 3.0)
    if packaged.tracks[0].kind == "video":
        assert result["frames"] >= 70


async def test_jitter_and_lost_frames_leave_no_hole(tmp_path: Path) -> None:
    """Cameras stamp their frames unevenly and lose some; offsets carry that, and the browser plays on."""
    packaged = package_file(make_file(tmp_path / "even", Recipe(options=FAST)))
    samples = [
        _shift(sample, (index * 7919) % 1500 - 750) if sample.track == 1 else sample
        for index, sample in enumerate(packaged.samples)
        if sample.keyframe or index % 31
    ]
    packager = Packager(packaged.tracks, EpochStart(Epoch(1), 1, 0.0), PackagerOptions())
    chunks = [chunk for sample in samples for chunk in packager.push(sample)] + packager.finish()
    check(await play(Packaged(packaged.tracks, tuple(chunks), tuple(samples))), 3.0)


@pytest.mark.parametrize(("name", "begin", "end"), [("h264-aac", 0.8, 2.0), ("h264-opus", 0.0, 9.0)])
async def test_missing_sound_does_not_stop_the_picture(name: str, begin: float, end: float, tmp_path: Path) -> None:
    """Sound that goes away, or never comes, is silence: one buffered range, and the picture plays on."""
    packaged = package_file(make_file(tmp_path / name, RECIPES[name]))
    samples = [sample for sample in packaged.samples if sample.track == 1 or not begin <= sample.dts / 48_000 < end]
    packager = Packager(packaged.tracks, EpochStart(Epoch(1), 1, 0.0), PackagerOptions())
    chunks = [chunk for sample in samples for chunk in packager.push(sample)] + packager.finish()
    check(await play(Packaged(packaged.tracks, tuple(chunks), tuple(samples))), 3.0)


async def test_a_next_epoch_goes_on_in_the_same_buffer(tmp_path: Path) -> None:
    """The same header again, numbers and times going on: a player appends it as if nothing had happened."""
    packaged = package_file(make_file(tmp_path / "first", Recipe(options=FAST)))
    first = Packager(packaged.tracks, EpochStart(Epoch(1), 1, 0.0), PackagerOptions())
    chunks = [chunk for sample in packaged.samples for chunk in first.push(sample)] + first.finish()
    second = Packager(packaged.tracks, EpochStart(Epoch(2), first.next_segment, first.end_seconds), PackagerOptions())
    chunks += [chunk for sample in packaged.samples for chunk in second.push(sample)] + second.finish()
    check(await play(Packaged(packaged.tracks, tuple(chunks), ())), 6.0)


def _shift(sample: Sample, ticks: int) -> Sample:
    return Sample(
        sample.track,
        sample.pts + ticks * 12_800 // 90_000,
        sample.dts + ticks * 12_800 // 90_000,
        sample.duration,
        sample.keyframe,
        sample.data,
        sample.capture_us,
    )
