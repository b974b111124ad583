"""Media files that are written for a test."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

SECONDS = 0.8
"""Length of a clip: short, so that several loops are a matter of seconds."""

RATE = 25
SAMPLE_RATE = 48_000


def make_clip(path: Path, size: tuple[int, int] = (320, 180), video: str = "libx264", audio: str = "aac") -> Path:
    """Write a clip of `SECONDS` with moving pictures, reordered where the codec can, and sound; return its path."""
    with av.open(str(path), "w") as container:
        streams: list[tuple[Any, Iterator[Any]]] = []
        if video:
            picture: Any = container.add_stream(video, rate=RATE)
            picture.width, picture.height = size
            picture.pix_fmt = "yuvj420p" if video == "mjpeg" else "yuv420p"
            if video in {"libx264", "libx265"}:
                picture.options = {"preset": "ultrafast", "bf": "2", "x265-params": "log-level=none:bframes=2"}
            streams.append((picture, _pictures(size, picture.pix_fmt)))
        if audio:
            sound: Any = container.add_stream(audio, rate=SAMPLE_RATE)
            sound.codec_context.layout = "stereo"
            sound.codec_context.format = "fltp" if audio == "aac" else "s16"
            streams.append((sound, _sounds(audio)))
        for stream, frames in streams:
            for frame in frames:
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def _pictures(size: tuple[int, int], pix_fmt: str) -> Iterator[av.VideoFrame]:
    for number in range(round(SECONDS * RATE)):
        frame = av.VideoFrame(*size, pix_fmt)
        for index, plane in enumerate(frame.planes):
            plane.update(bytes([(16 + 7 * number + 40 * index) % 220]) * plane.buffer_size)
        frame.pts, frame.time_base = number, Fraction(1, RATE)
        yield frame


def _sounds(audio: str) -> Iterator[av.AudioFrame]:
    size = 1024 if audio == "aac" else 960
    for number in range(round(SECONDS * SAMPLE_RATE / size)):
        frame = av.AudioFrame(format="fltp" if audio == "aac" else "s16", layout="stereo", samples=size)
        frame.sample_rate = SAMPLE_RATE
        tone = array("f", ((index % 96) / 960 for index in range(size))).tobytes()
        for plane in frame.planes:
            plane.update((tone * 2)[: plane.buffer_size])
        frame.pts, frame.time_base = number * size, Fraction(1, SAMPLE_RATE)
        yield frame
