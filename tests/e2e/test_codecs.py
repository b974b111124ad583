"""Every codec that is carried, from a real publisher by a real door through an edge onto Chromium's screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from bench.recovery import Whole
from support import publishers
from support.browser import WatchedPage, open_page, requires_chromium
from support.publishers import Publisher
from support.services import running

pytestmark = [pytest.mark.browser, pytest.mark.slow, requires_chromium]

LIVE = "stats.state === 'live' && video.readyState > 2 && !video.paused"

DECODED = """async () => {
  const { video } = document.querySelector('headrace-player');
  const began = video.currentTime;
  while (video.currentTime < began + 1.5) await new Promise((done) => setTimeout(done, 50));
  return { pictures: video.getVideoPlaybackQuality().totalVideoFrames, sound: video.webkitAudioDecodedByteCount,
           width: video.videoWidth };
}"""

PICTURES_MIN = 10
"""Fewest that are decoded in 1.5 s of 25 a second: a player that joins may jump once."""

ENHANCED = ("-f", "flv", "{rtmp}")
RTSP = ("-strict", "experimental", "-f", "rtsp", "-rtsp_transport", "tcp", "{rtsp}")

ffmpeg, new_ffmpeg = publishers.ffmpeg, publishers.new_ffmpeg


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    """Headrace in one process, with all its doors."""
    doors = dict.fromkeys(
        ("ingress.port", "ingress.rtsp_port", "ingress.srt_port", "edge.port", "edge.fmp4_port", "control_api.port"),
        "0",
    )
    service = Whole("standalone", "codecs", {**doors, "ingress.rtsp": "true", "ingress.srt": "true"})
    with running(service):
        yield service


def addressed(output: tuple[str, ...], whole: Whole, stream: str) -> list[str]:
    """Return an output's arguments with the door's address in them."""
    port = whole.port_of
    places = {
        "rtmp": f"rtmp://127.0.0.1:{port('rtmp')}/live/{stream}",
        "rtsp": f"rtsp://127.0.0.1:{port('rtsp')}/live/{stream}",
        "srt": f"srt://127.0.0.1:{port('srt')}?streamid={stream}",
        "http": f"http://127.0.0.1:{port('ingress')}/publish/{stream}",
    }
    return [word.format(**places) for word in output]


async def can_play(page: WatchedPage, kind: str, codec: str) -> bool:
    """Return what the browser says of itself."""
    type = f'{kind}/mp4; codecs="{codec}"'
    return bool(await page.page.evaluate("type => MediaSource.isTypeSupported(type)", type))


@pytest.mark.parametrize(
    ("program", "output", "video", "audio", "codecs"),
    [
        pytest.param(ffmpeg, ("-f", "flv", "{rtmp}"), "libx264", "aac", ("", ""), id="rtmp-h264-aac"),
        pytest.param(ffmpeg, RTSP, "libx264", "libopus", ("", ""), id="rtsp-h264-opus"),
        pytest.param(ffmpeg, ("-f", "mpegts", "{srt}"), "libx265", "aac", ("hvc1.1.6.L60.90", ""), id="srt-h265-aac"),
        pytest.param(ffmpeg, ("-f", "webm", "{http}"), "libvpx-vp9", "libopus", ("", ""), id="http-vp9-opus"),
        pytest.param(new_ffmpeg, RTSP, "libvpx-vp9", "libopus", ("", ""), id="rtsp-vp9-opus"),
        pytest.param(new_ffmpeg, ENHANCED, "libsvtav1", "libopus", ("", ""), id="rtmp-av1-opus"),
        pytest.param(new_ffmpeg, ENHANCED, "libvpx-vp9", "flac", ("", ""), id="rtmp-vp9-flac"),
        pytest.param(ffmpeg, ("-f", "flv", "{rtmp}"), "libx264", "libmp3lame", ("", "mp4a.6b"), id="rtmp-h264-mp3"),
        pytest.param(ffmpeg, ("-f", "flv", "{rtmp}"), "", "aac", ("", ""), id="rtmp-aac-alone"),
    ],
)
async def test_a_codec_is_played(
    whole: Whole,
    request: pytest.FixtureRequest,
    program: Callable[..., Publisher],
    output: tuple[str, ...],
    video: str,
    audio: str,
    codecs: tuple[str, str],
) -> None:
    """Pictures and sound are decoded and time goes on; of what this browser lacks it plays the rest.

    `codecs` are those of picture and sound that not every Chromium has, empty for what it must play.
    """
    stream = request.node.callspec.id
    with program(*addressed(output, whole, stream), video=video, audio=audio) as publisher:
        async with open_page(f"http://127.0.0.1:{whole.port_of('edge')}/watch/{stream}") as page:
            seen = bool(video) and (not codecs[0] or await can_play(page, "video", codecs[0]))
            heard = not codecs[1] or await can_play(page, "audio", codecs[1])
            await page.wait_for_player(LIVE, 40)
            decoded = await page.page.evaluate(DECODED)
            assert publisher.is_running, publisher.log
            assert page.errors == []
    assert decoded["width"] == (320 if seen else 0)
    assert decoded["pictures"] >= (PICTURES_MIN if seen else 0)
    assert (decoded["sound"] > 0) is heard
