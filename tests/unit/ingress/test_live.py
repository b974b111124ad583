"""A container that is read as its media arrive."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import av
import pytest

from headrace.clock import SystemClock
from headrace.media.samples import PackagerOptions, Sample
from headrace.registry.feed_uri import parse_uri
from headrace_ingress.file import FileSource
from headrace_ingress.live import LiveContainer
from headrace_ingress.source import SourceEnded
from support.media_files import UTC, Recipe, make_file


class Clock:
    """A clock that goes on by a step whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0
        self.step = 0.02

    def monotonic(self) -> float:
        """See `Clock`."""
        self.now += self.step
        return self.now

    def utc(self) -> float:
        """See `Clock`."""
        return UTC + self.now


def test_a_packet_that_comes_after_the_stall_time_is_none(tmp_path: Path) -> None:
    """libav's wait is over then, and it only lets go of what it had left: asked again, it would wait as long again."""
    clock = Clock()
    container = av.open(str(make_file(tmp_path / "clip.mp4", Recipe(seconds=1))))
    live = LiveContainer(
        container, PackagerOptions(), 5.0, clock, threading.Event(), lambda text: None, parser_delay=False
    )
    try:
        assert live.read()
        assert live.read()
        clock.step = 5.0
        with pytest.raises(TimeoutError):
            live.read()
    finally:
        live.close()


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """A file of 25 pictures, one of which is an empty packet."""
    whole, holed = make_file(tmp_path / "whole.mp4", Recipe(audio="", seconds=1)), tmp_path / "holed.nut"
    with av.open(str(whole)) as source, av.open(str(holed), "w", format="nut") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            copy: av.Packet[Any] = av.Packet(b"" if number == 5 else bytes(packet))
            copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
            copy.is_keyframe, copy.stream = packet.is_keyframe, stream
            out.mux(copy)
    return holed


def test_an_empty_packet_is_no_end(holed: Path) -> None:
    """Only one without any time is libav's word that there are no more; one that is merely empty has no sample."""
    live = LiveContainer(
        av.open(str(holed)), PackagerOptions(), 5.0, Clock(), threading.Event(), lambda text: None, parser_delay=False
    )
    samples: list[Sample] = []
    with pytest.raises(EOFError):
        while True:
            samples += live.read()
    samples += live.flush()
    live.close()
    assert len(samples) == 24


def test_an_empty_packet_is_no_end_of_a_file(holed: Path) -> None:
    """The same where a file is played for what it is."""
    uri = parse_uri(f"file:{holed}", trusted=True)
    file = FileSource(uri, (), False, PackagerOptions(), SystemClock(), threading.Event())
    file.open(lambda text: None)
    samples: list[Sample] = []
    with pytest.raises(SourceEnded):
        while True:
            samples += file.read()
    file.close()
    assert len(samples) == 24
