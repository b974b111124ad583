"""An RTSP server of other people's making to pull from: GStreamer's, as a process of its own.

Tests use `RtspServer`. The same file, run by the system's Python (GStreamer's bindings are Debian packages, not in our
environment), is the server: it prints `ready PORT` and serves `rtsp[s]://127.0.0.1:PORT/cam` until it is killed.
"""

from __future__ import annotations

import argparse
import select
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SYSTEM_PYTHON = "/usr/bin/python3"
USER, PASSWORD = "operator", "p@ss:w/rd%1"
"""Credentials that `--auth` asks for; the password has every character that must be escaped in a URI."""

READY_SECONDS = 20.0
"""Longest wait for the server to listen: GStreamer scans its plugins at the first start."""

_X264 = "x264enc speed-preset=ultrafast bitrate=600 key-int-max={gop}"
_VIDEO = {
    # One slice a picture: GStreamer 1.22 puts parameter sets between slices.
    "h264": f"{_X264} tune=zerolatency sliced-threads=false threads=1 ! rtph264pay config-interval=-1",
    "h264-bframes": f"{_X264} bframes=2 b-adapt=false rc-lookahead=4 ! video/x-h264,profile=main"
    " ! rtph264pay config-interval=-1",
    "h265": "x265enc speed-preset=ultrafast bitrate=600 key-int-max={gop} tune=zerolatency"
    " ! rtph265pay config-interval=-1",
    "mjpeg": "jpegenc quality=40 ! rtpjpegpay",
    "vp8": "vp8enc deadline=1 keyframe-max-dist={gop} ! rtpvp8pay",
    "none": "",
}
_AUDIO = {
    "aac": "audioconvert ! avenc_aac bitrate=64000 ! rtpmp4gpay",
    "opus": "audioconvert ! opusenc ! rtpopuspay",
    "g711": "audioconvert ! audioresample ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay",
    "g722": "audioconvert ! audioresample ! audio/x-raw,rate=16000,channels=1 ! avenc_g722 ! rtpg722pay",
    "none": "",
}


def available() -> bool:
    """Return whether the system's Python has GStreamer's RTSP server."""
    return _has("import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer")


def tls_available() -> bool:
    """Return whether it can serve rtsps: GLib has TLS and there is an openssl to make a certificate."""
    return shutil.which("openssl") is not None and _has(
        "from gi.repository import Gio; assert Gio.TlsBackend.get_default().supports_tls()"
    )


def _has(probe: str) -> bool:
    if not Path(SYSTEM_PYTHON).exists():
        return False
    return subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0


@dataclass
class RtspServer:
    """The server process; start and stop it as often as a test likes, the port stays the same.

    Attributes:
        video: `h264`, `h264-bframes`, `h265`, `mjpeg`, `vp8` or `none`.
        audio: `aac`, `opus`, `g711`, `g722` or `none`.
        auth: `basic`, `digest` or empty for none.
        tls: serve rtsps with a certificate of its own making.
        size: width and height.
        rate: frames per second.
        gop: frames from keyframe to keyframe.
        port: 0 takes a free one, kept from then on.
    """

    video: str = "h264"
    audio: str = "aac"
    auth: str = ""
    tls: bool = False
    size: tuple[int, int] = (320, 240)
    rate: int = 25
    gop: int = 25
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        """The address without credentials."""
        return f"{'rtsps' if self.tls else 'rtsp'}://127.0.0.1:{self.port}/cam"

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        command = [SYSTEM_PYTHON, __file__, "--video", self.video, "--audio", self.audio, "--auth", self.auth]
        command += ["--size", f"{self.size[0]}x{self.size[1]}", "--rate", str(self.rate), "--gop", str(self.gop)]
        command += ["--port", str(self.port)] + (["--tls"] if self.tls else [])
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self.port = self._ready_port(self._process)

    def kill(self) -> None:
        """End the process at once (SIGKILL), as a camera does whose plug is pulled."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(5)
            if process.stdout is not None:
                process.stdout.close()

    def freeze(self) -> None:
        """Stop the process (SIGSTOP): connections stay open and nothing comes any more."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._process is not None, "the server is not running"
        self._process.send_signal(number)

    @staticmethod
    def _ready_port(process: subprocess.Popen[bytes]) -> int:
        assert process.stdout is not None
        if not select.select([process.stdout], [], [], READY_SECONDS)[0]:
            process.kill()
            raise TimeoutError(f"the RTSP server did not listen within {READY_SECONDS:g} s")
        words = process.stdout.readline().split()
        if len(words) != 2 or words[0] != b"ready":
            raise RuntimeError(f"the RTSP server ended with code {process.wait(5)}; see tests/support/rtsp_server.py")
        return int(words[1])


# -- the server process ---------------------------------------------------------------------------------------------


def _launch_line(arguments: argparse.Namespace) -> str:
    """Return the pipeline's description."""
    width, height = arguments.size.split("x")
    line = ""
    if arguments.video != "none":
        encoder = _VIDEO[arguments.video].format(gop=arguments.gop)
        caps = f"video/x-raw,format=I420,width={width},height={height},framerate={arguments.rate}/1"
        line += f"videotestsrc is-live=true pattern=ball ! {caps} ! {encoder} name=pay0 pt=96 "

    if arguments.audio != "none":
        number = 0 if arguments.video == "none" else 1
        source = "audiotestsrc is-live=true wave=ticks ! audio/x-raw,rate=48000,channels=2"
        line += f"{source} ! {_AUDIO[arguments.audio]} name=pay{number} pt=97"
    return f"( {line} )"


def _protect(gst: Any, server: Any, factory: Any, scheme: str) -> None:
    """Ask for `USER` and `PASSWORD` by the scheme, or for nothing if it is empty."""
    auth = server.get_auth() or gst.RTSPAuth()
    token = _admit(gst, factory)
    if not scheme:
        auth.set_default_token(token)
    elif scheme == "basic":
        auth.add_basic(gst.RTSPAuth.make_basic(USER, PASSWORD), token)
    elif scheme == "digest":
        from gi.repository import GstRtsp

        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(USER, PASSWORD, token)
    server.set_auth(auth)


def _encrypt(gst: Any, server: Any) -> None:
    """Serve rtsps, with a certificate that nobody signed, as cameras do."""
    from gi.repository import Gio

    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "camera.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=camera", "-days", "2"]
        subprocess.run([*command, "-keyout", pem, "-out", f"{pem}.crt"], check=True, capture_output=True)
        certificate = Gio.TlsCertificate.new_from_files(f"{pem}.crt", str(pem))
    auth = gst.RTSPAuth()
    auth.set_tls_certificate(certificate)
    server.set_auth(auth)


def _admit(gst: Any, factory: Any) -> Any:
    """Let one role in, and return the token of whoever has it."""
    permissions = gst.RTSPPermissions()
    for right in ("access", "construct"):
        permissions.add_permission_for_role("viewer", f"media.factory.{right}", True)
    factory.set_permissions(permissions)
    token = gst.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    return token


def _serve(arguments: argparse.Namespace) -> None:
    import gi

    gi.require_version("Gst", "1.0")
    gi.require_version("GstRtsp", "1.0")
    gi.require_version("GstRtspServer", "1.0")
    from gi.repository import GLib, Gst, GstRtspServer

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(str(arguments.port))
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(_launch_line(arguments))
    factory.set_shared(True)
    if arguments.tls:
        _encrypt(GstRtspServer, server)
    if arguments.auth or arguments.tls:
        _protect(GstRtspServer, server, factory, arguments.auth)
    server.get_mount_points().add_factory("/cam", factory)
    if not server.attach(None):
        raise SystemExit(1)
    print(f"ready {server.get_bound_port()}", flush=True)
    GLib.MainLoop().run()


def _main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("video", "audio", "auth", "size"):
        parser.add_argument(f"--{name}", required=True)
    for name in ("rate", "gop", "port"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--tls", action="store_true")
    _serve(parser.parse_args())


if __name__ == "__main__":
    _main()
