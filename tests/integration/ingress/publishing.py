"""An ingress that publishers come to."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import av

from headrace.service.settings import Settings
from headrace_ingress.rtmp_door import RtmpDoor
from headrace_ingress.rtsp_door import RtspDoor
from headrace_ingress.srt_door import SrtDoor
from integration.ingress.rig import NAME, PATIENT, Watched, feeding_settings


@asynccontextmanager
async def publishing(**ingress: Any) -> AsyncIterator[tuple[Watched, str]]:
    """Run an ingress for a `with` block; give what is published as `NAME`, and the address of its RTMP door."""
    group = {"rtmp_port": 0, "port": 0, **PATIENT, **ingress}
    async with feeding_settings(Settings.model_validate({"ingress": group})) as watched:
        door = next(component for component in watched.components if isinstance(component, RtmpDoor))
        yield watched, f"rtmp://127.0.0.1:{door.bound_port}/live/{NAME}"


@asynccontextmanager
async def publishing_srt(**ingress: Any) -> AsyncIterator[tuple[Watched, int]]:
    """The same with the SRT door; give its port."""
    group = {"rtmp": False, "port": 0, "srt": True, "srt_port": 0, **PATIENT, **ingress}
    async with feeding_settings(Settings.model_validate({"ingress": group})) as watched:
        door = next(component for component in watched.components if isinstance(component, SrtDoor))
        yield watched, door.bound_port


@asynccontextmanager
async def publishing_rtsp(**ingress: Any) -> AsyncIterator[tuple[Watched, str]]:
    """The same with the RTSP door; give the address to publish `NAME` at."""
    group = {"rtmp": False, "port": 0, "rtsp": True, "rtsp_port": 0, **PATIENT, **ingress}
    async with feeding_settings(Settings.model_validate({"ingress": group})) as watched:
        door = next(component for component in watched.components if isinstance(component, RtspDoor))
        yield watched, f"rtsp://127.0.0.1:{door.bound_port}/live/{NAME}"


@asynccontextmanager
async def connection(uri: str) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Connect to the door of `uri`."""
    parts = urlsplit(uri)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def decode_whole(file: bytes) -> dict[str, int]:
    """Return how many frames of each kind a media file has; every one is decoded."""
    counts: dict[str, int] = {}
    with av.open(io.BytesIO(file), "r") as container:
        for packet in container.demux():
            for frame in packet.decode():
                kind = "video" if isinstance(frame, av.VideoFrame) else "audio"
                counts[kind] = counts.get(kind, 0) + 1
    return counts


def check_carried(watched: Watched, codecs: list[str], *, steady: bool = True) -> None:
    """Assert that all of it came: the codecs, numbers without holes, every frame decodable, sound as long as video.

    None of it is of a time before its epoch's number, at which a Period of DASH begins. A publisher that is not steady
    leaves out what it lacks a processor for, as live sources of GStreamer do: what came of it is decoded whole.
    """
    for number, track in watched.broadcast.tracks.items():
        media = [chunk for chunk in watched.chunks(number) if chunk.samples]
        assert all(chunk.decode_time / track.timescale >= chunk.id.epoch / 1000 for chunk in media), number
    assert [codec.partition(".")[0] for codec in watched.codecs] == codecs
    watched.check()
    frames = decode_whole(watched.file())
    if "video" in frames and steady:
        assert abs(frames["video"] / 25 - watched.seconds(1)) < 0.2
    elif "video" in frames:
        epoch = watched.opened[-1].epoch
        assert frames["video"] == sum(chunk.samples for chunk in watched.chunks(1) if chunk.id.epoch == epoch)
    if len(codecs) == 2 and steady:
        assert abs(watched.seconds(1) - watched.seconds(2)) < 0.7
    assert all(watched.seconds(number) > 0 for number in watched.broadcast.tracks)
