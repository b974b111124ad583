"""Publishers of other people's making: ffmpeg old and new, GStreamer, VLC, and libav of the version that we ship.

Tests use `Publisher`s made by `ffmpeg`, `gstreamer`, `vlc` and `libav`. The same file, run by the system's Python, is
the GStreamer one; run by ours, the libav one.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

SYSTEM_PYTHON = "/usr/bin/python3"

NOBODY = 65534
"""VLC does not run as root, as tests do in containers."""

FEED_SECONDS = 30.0
CONNECT_MILLISECONDS = 20_000
"""How long a busy machine takes to start ffmpeg, and to do an encrypted handshake."""

SIZE = "320x180"
GOP = 25


class Publisher:
    """A process that publishes until it is ended.

    Attributes:
        command: what is run.
    """

    def __init__(self, command: list[str]) -> None:
        self.command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None

    def __enter__(self) -> Publisher:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=subprocess.STDOUT
        )
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()
        self._log.close()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it said so far."""
        self._log.seek(0)
        return str(self._log.read().decode(errors="replace"))

    def signal(self, number: int) -> None:
        """Send it a signal, for example SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a cut cable does but for the closed connection."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(5)


def ffmpeg(
    *output: str, video: str = "libx264", audio: str = "aac", gop: int = GOP, program: str = "ffmpeg"
) -> Publisher:
    """Return Debian's ffmpeg that publishes a test picture with a tone; the output's format and address come last."""
    command = [program, "-hide_banner", "-loglevel", "warning", "-re"]
    command += ["-f", "lavfi", "-i", f"testsrc=size={SIZE}:rate=25"] if video else []
    command += ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"] if audio else []
    command += _ffmpeg_video(video, gop) if video else []
    command += ["-c:a", audio, "-ac", "2", "-b:a", "64k"] if audio else []
    return Publisher([*command, *output])


def _ffmpeg_video(video: str, gop: int) -> list[str]:
    fast = {
        "libx264": ["-preset", "ultrafast", "-tune", "zerolatency", "-bf", "0"],
        "libx265": ["-preset", "ultrafast", "-tune", "zerolatency", "-x265-params", "log-level=none"],
        "libvpx-vp9": ["-deadline", "realtime", "-cpu-used", "8"],
        "libsvtav1": ["-preset", "12", "-svtav1-params", "pred-struct=1"],
    }
    return ["-c:v", video, "-pix_fmt", "yuv420p", "-g", str(gop), *fast.get(video, [])]


def new_ffmpeg(*output: str, video: str = "libx264", audio: str = "aac") -> Publisher:
    """Return the same of ffmpeg 9, which comes from a Python package."""
    import imageio_ffmpeg

    return ffmpeg(*output, video=video, audio=audio, program=imageio_ffmpeg.get_ffmpeg_exe())


def vlc(clip: Path, output: str) -> Publisher:
    """Return VLC that sends a clip at live speed, by a chain as its `--sout` has it; everybody may read the clip."""
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"] if os.geteuid() == 0 else []
    home = ["env", f"HOME={clip.parent}", f"XDG_RUNTIME_DIR={clip.parent}"]
    return Publisher([*user, *home, "cvlc", "-I", "dummy", "--no-dbus", "--quiet", str(clip), "--sout", output])


def gstreamer_udp(port: int) -> Publisher:
    """Return GStreamer's udpsink, behind its own multiplexer of MPEG-TS."""
    line = (
        f"mpegtsmux name=mux alignment=7 ! udpsink host=127.0.0.1 port={port} "
        f"{_GSTREAMER_PICTURE} config-interval=-1 ! mux. {_GSTREAMER_SOUND} ! aacparse ! mux."
    )
    return Publisher([SYSTEM_PYTHON, __file__, "gstreamer", line])


def gstreamer(uri: str, audio: str = "aac") -> Publisher:
    """Return GStreamer's rtmp2sink."""
    encoder = {"aac": "avenc_aac bitrate=64000 ! aacparse", "mp3": "lamemp3enc ! mpegaudioparse"}[audio]
    line = (
        f"flvmux name=mux streamable=true ! rtmp2sink location={uri} "
        f"videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=25/1 ! x264enc tune=zerolatency"
        f" speed-preset=ultrafast key-int-max={GOP} ! h264parse ! mux. "
        f"audiotestsrc is-live=true ! audio/x-raw,rate=44100,channels=2 ! audioconvert ! {encoder} ! mux."
    )
    return Publisher([SYSTEM_PYTHON, __file__, "gstreamer", line])


def gstreamer_srt(port: int, streamid: str) -> Publisher:
    """Return GStreamer's srtsink that calls."""
    line = (
        f"mpegtsmux name=mux alignment=7 ! srtsink uri=srt://127.0.0.1:{port} mode=caller streamid={streamid} "
        f"wait-for-connection=true {_GSTREAMER_PICTURE} ! mux. {_GSTREAMER_SOUND} ! aacparse ! mux."
    )
    return Publisher([SYSTEM_PYTHON, __file__, "gstreamer", line])


def gstreamer_rtsp(uri: str, transport: str, video: str = "h264", audio: str = "aac") -> Publisher:
    """Return GStreamer's rtspclientsink over `tcp` or `udp`; it makes packets of its own."""
    pictures = {
        "h264": _GSTREAMER_PICTURE,
        "h265": _GSTREAMER_RAW + "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h265parse",
    }
    sounds = {
        "aac": f"{_GSTREAMER_SOUND} ! aacparse",
        "opus": "audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! opusenc",
        "g711": "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc",
    }
    sink = f"rtspclientsink name=sink location={uri} protocols={transport}"
    line = f"{sink} {pictures[video]} ! sink. {sounds[audio]} ! sink."
    return Publisher([SYSTEM_PYTHON, __file__, "gstreamer", line])


_GSTREAMER_RAW = "videotestsrc is-live=true ! video/x-raw,width=320,height=180,framerate=25/1 ! "
_GSTREAMER_PICTURE = _GSTREAMER_RAW + f"x264enc tune=zerolatency speed-preset=ultrafast key-int-max={GOP} ! h264parse"
_GSTREAMER_SOUND = (
    "audiotestsrc is-live=true ! audio/x-raw,rate=48000,channels=2 ! audioconvert ! avenc_aac bitrate=64000"
)


@contextmanager
def srt_live_transmit(place: str) -> Iterator[tuple[Publisher, Publisher]]:
    """Run libsrt's own program for a `with` block, and the ffmpeg that feeds it by UDP on this machine; give both.

    It calls when there is something to send: a publisher that is silent while ffmpeg starts is sent away.
    """
    with ExitStack() as running:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as chosen:
            chosen.bind(("127.0.0.1", 0))
            chosen.settimeout(FEED_SECONDS)
            feed = f"udp://127.0.0.1:{chosen.getsockname()[1]}"
            feeder = running.enter_context(ffmpeg("-f", "mpegts", f"{feed}?pkt_size=1316"))
            chosen.recv(2048)
        command = ["srt-live-transmit", "-chunk:1316", feed, f"{place}&conntimeo={CONNECT_MILLISECONDS}"]
        yield running.enter_context(Publisher(command)), feeder


def libav(uri: str, format: str, video: str, audio: str) -> Publisher:
    """Return libav of our own environment, which speaks enhanced RTMP."""
    return Publisher([sys.executable, __file__, "libav", uri, format, video, audio])


# -- the publishing processes -----------------------------------------------------------------------------------------


def _run_gstreamer(line: str) -> None:
    import gi

    gi.require_version("Gst", "1.0")
    from gi.repository import GLib, Gst

    Gst.init(None)
    pipeline = Gst.parse_launch(line)
    loop = GLib.MainLoop()
    bus = pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message::error", lambda bus, message: (print(message.parse_error(), flush=True), loop.quit()))
    pipeline.set_state(Gst.State.PLAYING)
    loop.run()
    pipeline.set_state(Gst.State.NULL)


def _run_libav(uri: str, format: str, video: str, audio: str) -> None:
    import time

    import av

    # libav calls its own packets of VP9 and AV1 experimental.
    container = av.open(uri, "w", format=format, container_options={"strict": "experimental"})
    picture: Any = container.add_stream(video, rate=25) if video else None
    if picture is not None:
        picture.width, picture.height, picture.pix_fmt = 320, 180, "yuv420p"
        picture.codec_context.gop_size = GOP
        picture.codec_context.max_b_frames = 0
        picture.options = {
            "libx264": {"preset": "ultrafast", "tune": "zerolatency"},
            "libx265": {"preset": "ultrafast", "tune": "zerolatency", "x265-params": "log-level=none"},
            "libsvtav1": {"preset": "12", "svtav1-params": "pred-struct=1:keyint=25"},
            "libaom-av1": {"cpu-used": "10", "usage": "realtime", "lag-in-frames": "0"},
            "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"},
        }.get(video, {})
        picture.codec_context.flags |= 1 << 22
    sound: Any = container.add_stream(audio, rate=48000) if audio else None
    if sound is not None:
        sound.codec_context.layout = "stereo"
        sound.codec_context.flags |= 1 << 22
        sound.codec_context.open()
    begun, number, heard = time.monotonic(), 0, 0
    while True:
        if picture is not None:
            container.mux(picture.encode(_picture(number)))
        number += 1
        while sound is not None and heard / 48000 < number / 25:
            size = sound.codec_context.frame_size or 1024
            container.mux(sound.encode(_sound(heard, size, sound.codec_context.format.name)))
            heard += size
        time.sleep(max(0.0, begun + number / 25 - time.monotonic()))


def _picture(number: int) -> Any:
    import av

    frame = av.VideoFrame(320, 180, "yuv420p")
    for index, plane in enumerate(frame.planes):
        plane.update(bytes([(16 + 3 * number + 40 * index) % 220]) * plane.buffer_size)
    frame.pts, frame.time_base = number, Fraction(1, 25)
    return frame


def _sound(at: int, size: int, format: str) -> Any:
    import av

    frame = av.AudioFrame(format=format, layout="stereo", samples=size)
    frame.sample_rate = 48000
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    frame.pts, frame.time_base = at, Fraction(1, 48000)
    return frame


if __name__ == "__main__":
    # Run by its path, this file's folder comes first: it must not hide the library of the same name.
    sys.path[:] = [place for place in sys.path if Path(place or ".").resolve() != Path(__file__).parent]
    (_run_gstreamer if sys.argv[1] == "gstreamer" else _run_libav)(*sys.argv[2:])
