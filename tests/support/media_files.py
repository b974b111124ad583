"""Short real media files, made by libav's encoders, and the whole way from a file to chunks."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.bitstream

from headrace.identifiers import Epoch
from headrace.media.boxes import combine_headers
from headrace.media.headers import TrackReader
from headrace.media.packager import EpochStart, Packager, PackagerOptions, Sample
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track

UTC = 1_763_600_000
"""Seconds since 1970 at which packaged files begin."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a file is made: 25 pictures a second, a tone, a keyframe each second.

    Attributes:
        video: encoder of the picture, empty for none.
        audio: encoder of the sound, empty for none.
        container: libav's name of the file format.
        options: of the video encoder.
        seconds: its length.
    """

    video: str = "libx264"
    audio: str = "aac"
    container: str = "mp4"
    options: tuple[tuple[str, str], ...] = ()
    seconds: int = 3


def make_file(path: Path, recipe: Recipe) -> Path:
    """Write a file as `recipe` says; return its path."""
    with av.open(str(path), "w", format=recipe.container) as out:
        feeds = []
        if recipe.video:
            stream: Any = out.add_stream(recipe.video, rate=25, options={"g": "25", **dict(recipe.options)})
            stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
            feeds.append((stream, f"testsrc2=size=320x180:rate=25:duration={recipe.seconds},format=yuv420p"))
        if recipe.audio:
            sound: Any = out.add_stream(recipe.audio, rate=48_000)
            sound.layout = "stereo"
            feeds.append((sound, f"sine=frequency=440:sample_rate=48000:duration={recipe.seconds}"))
        for stream, graph in feeds:
            _encode(out, stream, graph)
    return path


def _encode(out: Any, stream: Any, graph: str) -> None:
    with av.open(graph, format="lavfi") as source:
        frame: Any
        for frame in source.decode(source.streams[0]):
            if stream.type == "video":
                frame.pict_type = 0
            out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


@dataclass(frozen=True, slots=True)
class Packaged:
    """What became of a file.

    Attributes:
        tracks: with their headers.
        chunks: of all tracks in the order of sending.
        samples: what the packager was given.
    """

    tracks: tuple[Track, ...]
    chunks: tuple[Chunk, ...]
    samples: tuple[Sample, ...]

    def header(self, *numbers: int) -> bytes:
        """Return one header for the tracks with these numbers, all if none are given."""
        return combine_headers([track.header for track in self.tracks if not numbers or track.track in numbers])

    def file(self, *numbers: int) -> bytes:
        """Return a playable file of the tracks with these numbers, all if none are given."""
        wanted = [chunk for chunk in self.chunks if not numbers or chunk.id.track in numbers]
        return self.header(*numbers) + b"".join(bytes(chunk.media) for chunk in wanted)


def package_file(path: Path, options: PackagerOptions | None = None) -> Packaged:
    """Read a file and package it as one epoch that begins at `UTC`."""
    options = options or PackagerOptions()
    samples: list[Sample] = []
    with av.open(str(path)) as source:
        readers = {stream.index: TrackReader(stream, stream.index + 1, options) for stream in source.streams}
        tracks = tuple(reader.track for reader in readers.values())
        packager = Packager(tracks, EpochStart(Epoch(UTC * 1000), UTC, 0.0), options)
        chunks: list[Chunk] = []
        origin: Fraction | None = None
        for packet in source.demux():
            if packet.dts is None:
                continue
            time = packet.dts * packet.time_base
            origin = time if origin is None else origin
            sample = readers[packet.stream_index].sample(packet, round((UTC + time - origin) * 1_000_000))
            samples.append(sample)
            chunks += packager.push(sample)
        return Packaged(tracks, tuple(chunks + packager.finish()), tuple(samples))
