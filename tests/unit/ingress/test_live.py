"""A container that is read as its media arrive."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import pytest

from headrace.media.samples import PackagerOptions
from headrace_ingress.live import LiveContainer
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
