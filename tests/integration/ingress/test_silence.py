"""Real sources that stand still: told at once, kept, and taken up again; and slow ones, which are not silent."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from integration.ingress.publishing import publishing
from integration.ingress.rig import Watched, feeding
from integration.ingress.test_http_push import door
from support import publishers
from support.rtsp_server import RtspServer, available

SILENCE = 0.9
"""The setting's default; the rig's other tests are not about it."""

PATIENCE = 60
"""Longer than anything here waits: nothing is given up."""

BATCHES = ("-f", "mp4", "-movflags", "frag_keyframe+empty_moov+default_base_moof")
"""A whole GOP at a time."""


@pytest.fixture
def camera() -> Iterator[RtspServer]:
    with RtspServer() as server:
        yield server


async def stands_still(watched: Watched) -> None:
    """Wait until it is told."""
    await watched.interrupted("silent for ")


@pytest.mark.gstreamer
@pytest.mark.skipif(not available(), reason="GStreamer's RTSP server is not installed; see make test")
async def test_a_camera_that_stands_still(camera: RtspServer) -> None:
    """Its connection stands: interrupted long before it is given up, and live on the same connection afterwards."""
    async with feeding(camera.uri, stall_seconds=PATIENCE, silence_seconds=SILENCE) as watched:
        await watched.live(1.0)
        camera.freeze()
        await stands_still(watched)
        camera.thaw()
        await watched.live(1.0)
        watched.check()
        assert watched.runtime.metrics.get_sample_value("headrace_ingress_breaks_total")
        assert len(watched.opened) == 1


async def test_a_publisher_that_stands_still() -> None:
    """The same of one that publishes: the door keeps it, nobody else is let in, and it goes on."""
    async with publishing(stall_seconds=PATIENCE, silence_seconds=SILENCE) as (watched, uri):
        with publishers.ffmpeg("-f", "flv", uri) as publisher:
            await watched.live(1.0)
            publisher.signal(signal.SIGSTOP)
            await stands_still(watched)
            publisher.signal(signal.SIGCONT)
            await watched.live(1.0)
            assert publisher.is_running, publisher.log
    watched.check()


async def test_batches_are_no_silence() -> None:
    """A GOP of two seconds at a time: nothing comes between, and nobody is told so."""
    async with door(stall_seconds=PATIENCE, silence_seconds=SILENCE) as (watched, url):
        with publishers.ffmpeg(*BATCHES, url, gop=50):
            await wait_until(lambda: watched.seconds() > 8, 60, what="four batches")
            assert watched.states == [StreamState.INTERRUPTED, StreamState.LIVE]
    watched.check()
