"""Live media for tests: a short clip of real H.264 and AAC, encoded once, packaged in real time into a broadcast."""

from __future__ import annotations

import array
import asyncio
import io
import math
import time
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Literal

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from headrace.identifiers import Epoch
from headrace.media.boxes import read_boxes
from headrace.media.declaration import declare
from headrace.media.packager import EpochStart, Packager, PackagerOptions, Sample
from headrace.relay.broadcast import Broadcast
from headrace.wire.stream import StreamState, Track

FRAME_RATE = 25
VIDEO_TIMESCALE = 90_000
SAMPLE_RATE = 48_000
AAC_FRAME = 1024
OPUS_FRAME = 960

CLIP_SECONDS = 8
"""After so long both 25 frames a second and AAC and Opus frames come out even, so the clip loops without a seam."""


@dataclass(frozen=True)
class Clip:
    """Encoded media that can be repeated without a seam; times of samples begin at 0 in their track's timescale."""

    tracks: tuple[Track, ...]
    samples: tuple[Sample, ...]
    seconds: int = CLIP_SECONDS


@cache
def make_clip(
    width: int = 640,
    height: int = 360,
    audio: Literal["aac", "opus", None] = "aac",
    frame_rate: int = FRAME_RATE,
    gop_seconds: int = 1,
) -> Clip:
    """Encode a moving gradient and, with `audio`, a tone; keyframes each `gop_seconds`, no B-frames."""
    seconds = max(CLIP_SECONDS, gop_seconds)
    if seconds % CLIP_SECONDS:
        raise ValueError(f"clips of {seconds} s do not come out even: {CLIP_SECONDS} s times something do")
    made = [_encode_video(width, height, frame_rate, seconds, gop_seconds)]
    made += [_encode_audio(audio, seconds)] if audio else []
    samples = [sample for _, track_samples in made for sample in track_samples]
    timescales = {track.track: track.timescale for track, _ in made}
    samples.sort(key=lambda sample: sample.dts / timescales[sample.track])
    return Clip(tuple(track for track, _ in made), tuple(samples), seconds)


@dataclass
class Publisher:
    """Publishes clips into a broadcast at live speed, epoch by epoch.

    Attributes:
        broadcast: what it writes to.
        options: how media is divided.
        delay: added to when each sample is handed over, in seconds; its capture time stays.
    """

    broadcast: Broadcast
    options: PackagerOptions = field(default_factory=PackagerOptions)
    delay: float = 0.0
    _task: asyncio.Task[None] | None = None
    _next_segment: int = 1
    _end_seconds: float = 0.0
    _epoch: int = 0
    _epochs: int = 0

    async def start(self, clip: Clip) -> None:
        """Begin a new epoch with `clip`."""
        await self.stop()
        self._epoch = max(self._epoch + 1, int(time.time() * 1000))
        packager = Packager(
            clip.tracks, EpochStart(Epoch(self._epoch), self._next_segment, self._end_seconds), self.options
        )
        declared = tuple(declare(track, self.options, self._epochs) for track in clip.tracks)
        self._epochs += 1
        self.broadcast.open(Epoch(self._epoch), declared)
        self.broadcast.set_state(StreamState.LIVE)
        self._task = asyncio.create_task(self._publish(clip, packager))

    async def stop(self, reason: str = "") -> None:
        """End the epoch; with a reason, the broadcast becomes interrupted."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if reason:
            self.broadcast.set_state(StreamState.INTERRUPTED, reason)

    async def _publish(self, clip: Clip, packager: Packager) -> None:
        timescales = {track.track: track.timescale for track in clip.tracks}
        began = time.time()
        turn = 0
        try:
            while True:
                for sample in clip.samples:
                    scale = timescales[sample.track]
                    shift = turn * clip.seconds * scale
                    captured = began + (sample.dts + shift) / scale
                    await asyncio.sleep(captured + self.delay - time.time())
                    self._append(packager, sample, shift, captured)
                turn += 1
        finally:
            for chunk in packager.finish():
                self.broadcast.append(chunk)
            self._next_segment, self._end_seconds = packager.next_segment, packager.end_seconds

    def _append(self, packager: Packager, sample: Sample, shift: int, captured: float) -> None:
        moved = Sample(
            sample.track, sample.pts + shift, sample.dts + shift, sample.duration, sample.keyframe, sample.data,
            round(captured * 1_000_000),
        )  # fmt: skip
        for chunk in packager.push(moved):
            self.broadcast.append(chunk)


# -- encoding ---------------------------------------------------------------------------------------------------------


def _encode_video(width: int, height: int, rate: int, seconds: int, gop_seconds: int) -> tuple[Track, list[Sample]]:
    output = av.open(io.BytesIO(), "w", format="mp4")
    stream = output.add_stream("libx264", rate=rate)
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.gop_size = rate * gop_seconds
    stream.time_base = stream.codec_context.time_base = Fraction(1, rate)
    stream.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "profile": "baseline",
        "crf": "32",
        "sc_threshold": "0",
    }
    output.start_encoding()
    frames = (_picture(width, height, number, rate) for number in range(seconds * rate))
    packets = [packet for frame in frames for packet in stream.encode(frame)] + list(stream.encode(None))
    header = _header(stream, 1)
    extradata = stream.codec_context.extradata or b""
    sps = extradata[extradata.find(b"\x67") :] if extradata[:1] != b"\x01" else extradata[8:]
    codec = f"avc1.{sps[1]:02x}{sps[2]:02x}{sps[3]:02x}"
    track = Track(
        track=1, kind="video", codec=codec, timescale=VIDEO_TIMESCALE, header=header, width=width, height=height,
        frame_rate=rate, chunk_seconds=max(1, rate // 8) / rate,
    )  # fmt: skip
    step = VIDEO_TIMESCALE // rate
    samples = [
        Sample(1, number * step, number * step, step, packet.is_keyframe, _with_lengths(bytes(packet)), 0)
        for number, packet in enumerate(packets)
    ]
    return track, samples


def _encode_audio(codec: Literal["aac", "opus"], seconds: int) -> tuple[Track, list[Sample]]:
    frame = AAC_FRAME if codec == "aac" else OPUS_FRAME
    output = av.open(io.BytesIO(), "w", format="mp4")
    stream = output.add_stream("aac" if codec == "aac" else "libopus", rate=SAMPLE_RATE, layout="mono")
    assert isinstance(stream, AudioStream)
    stream.format = "fltp" if codec == "aac" else "flt"  # the same bytes, for there is one channel
    output.start_encoding()
    needed = seconds * SAMPLE_RATE // frame
    packets = [
        packet for number in range(needed + 4) for packet in stream.encode(_tone(number, frame, stream.format.name))
    ]
    header = _header(stream, 2)
    track = Track(
        track=2,
        kind="audio",
        codec="mp4a.40.2" if codec == "aac" else "opus",
        timescale=SAMPLE_RATE,
        header=header,
        sample_rate=SAMPLE_RATE,
        channels=1,
        chunk_seconds=0.1,
    )
    samples = [
        Sample(2, number * frame, number * frame, frame, True, bytes(packet), 0)
        for number, packet in enumerate(packets[2 : needed + 2])
    ]
    return track, samples


def _picture(width: int, height: int, number: int, rate: int) -> VideoFrame:
    frame = VideoFrame(width, height, "yuv420p")
    luma = frame.planes[0]
    row = bytes((column + number * 4) % 256 for column in range(width)).ljust(luma.line_size, b"\0")
    luma.update(row * luma.height)
    for plane in frame.planes[1:]:
        plane.update(bytes([128]) * plane.buffer_size)
    frame.pts = number
    frame.time_base = Fraction(1, rate)
    return frame


def _tone(number: int, samples: int, layout: str) -> AudioFrame:
    first = number * samples
    frame = AudioFrame(format=layout, layout="mono", samples=samples)
    wave = (0.2 * math.sin(2 * math.pi * 440 * (first + sample) / SAMPLE_RATE) for sample in range(samples))
    frame.planes[0].update(array.array("f", wave).tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
    frame.sample_rate = SAMPLE_RATE
    frame.pts = first
    frame.time_base = Fraction(1, SAMPLE_RATE)
    return frame


def _header(stream: VideoStream | AudioStream, number: int) -> bytes:
    """Return ftyp and moov of one track as libav's own muxer writes them."""
    written = io.BytesIO()
    options = {"movflags": "empty_moov+default_base_moof", "use_stream_ids_as_track_ids": "1"}
    with av.open(written, "w", format="mp4", options=options) as output:
        copy = output.add_stream_from_template(stream)
        copy.id = number
        copy.time_base = Fraction(1, VIDEO_TIMESCALE if number == 1 else SAMPLE_RATE)
        output.start_encoding()
    boxes = {box.type: box.bytes for box in read_boxes(written.getvalue())}
    return boxes["ftyp"] + boxes["moov"]


def _with_lengths(data: bytes) -> bytes:
    """Return an Annex B access unit with four-byte lengths instead of start codes."""
    units = [unit.rstrip(b"\0") for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)
