"""How libav is asked to open things, and what its errors mean in words for people."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import av
import av.error

from headrace.registry.feed_uri import FeedUri, Transport

if TYPE_CHECKING:
    from av.container import InputContainer

OPEN_SECONDS = 5.0
"""Longest time for connecting, and again for learning the tracks: cameras that wake up need two or three."""

PROBE_BYTES = 500_000
PROBE_MICROSECONDS = 500_000
"""How much libav looks at before it believes to know a live feed's tracks: RTSP describes them beforehand, so more
would only cost time. What it looked at is read afterwards, nothing is lost by it."""

RTSP_PROTOCOLS = "rtsp,rtp,udp,tcp"
RTSPS_PROTOCOLS = "rtsp,rtp,tcp,tls"
"""What libav may use for a feed, wherever a server redirects it to."""

RTSP_FORMATS = "rtsp"
"""A server describes elementary streams; it may not have its answer read as anything else."""

HTTP_FORMATS = "hls,mov,mpegts,flv,matroska,aac,mp3,ogg,flac,wav"
"""What HTTP servers' answers are read as. Of playlists HLS alone: what it names is asked for file by file
(`headrace_ingress.fetch`)."""

FILE_FORMATS = "mov,matroska,mpegts,mpeg,flv,avi,nut,ogg,ivf,yuv4mpegpipe,wav,w64,mp3,aac,h264,hevc"
"""What files are read as, by libav's names: containers that hold their media themselves. Whatever names other files or
addresses (HLS and DASH playlists, concat lists, SDP, image sequences, subtitle indices) is missing here on purpose."""

READ_SECONDS = 5.0
"""Longest wait for a disk, or the network behind it."""

REORDER_PACKETS = "64"
"""How many RTP packets libav waits for one that overtook others, over UDP."""


REPLAY_REORDER_PACKETS = "16"
"""How many RTP packets of a publisher libav waits for one that was overtaken, or lost: so many of sound, which has the
fewest, are a third of a second."""


def rtsp_options(uri: FeedUri, transport: Transport) -> dict[str, str]:
    """Return libav's options for pulling from an RTSP server."""
    secure = urlsplit(uri.address).scheme == "rtsps"
    options = {
        "protocol_whitelist": RTSPS_PROTOCOLS if secure else RTSP_PROTOCOLS,
        "format_whitelist": RTSP_FORMATS,
        "rtsp_transport": "tcp" if secure else transport,
        "analyzeduration": str(PROBE_MICROSECONDS),
        "probesize": str(PROBE_BYTES),
        "reorder_queue_size": REORDER_PACKETS if transport == "udp" else "0",
    }
    if secure:
        # Cameras sign their own certificates: TLS keeps the stream from listeners, it does not prove who sends it.
        options["tls_verify"] = "0"
    return options


def replay_options() -> dict[str, str]:
    """Return libav's options for what a publisher sends by RTSP and this process serves again."""
    return {
        "protocol_whitelist": "rtsp,rtp,tcp",
        "format_whitelist": RTSP_FORMATS,
        "rtsp_transport": "tcp",
        "analyzeduration": str(PROBE_MICROSECONDS),
        "probesize": str(PROBE_BYTES),
        "reorder_queue_size": REPLAY_REORDER_PACKETS,
    }


def rtmp_options(uri: FeedUri) -> dict[str, str]:
    """Return libav's options for pulling from an RTMP server."""
    secure = urlsplit(uri.address).scheme == "rtmps"
    options = _live_options("rtmps,tls,tcp" if secure else "rtmp,tcp", "flv") | {"rtmp_live": "live"}
    if secure:
        options["tls_verify"] = "0"
    return options


def udp_options() -> dict[str, str]:
    """Return libav's options for MPEG-TS that arrives by UDP."""
    return _live_options("udp", "mpegts")


def http_options() -> dict[str, str]:
    """Return libav's options for what an HTTP server answers: it opens nothing itself.

    Connections are not its own, so it may neither keep them nor use several (which would abort the process).
    """
    return _live_options("http,https,tls,tcp", HTTP_FORMATS) | {
        "http_persistent": "0",
        "http_multiple": "0",
        "seg_max_retry": "1",
        "max_reload": "3",
        "enable_drefs": "0",
        "use_absolute_path": "0",
    }


def _live_options(protocols: str, formats: str) -> dict[str, str]:
    return {
        "protocol_whitelist": protocols,
        "format_whitelist": formats,
        "analyzeduration": str(PROBE_MICROSECONDS),
        "probesize": str(PROBE_BYTES),
    }


def looking_longer(options: dict[str, str], seconds: float) -> dict[str, str]:
    """Return options with which libav looks at so many seconds of a feed, of 50 MB at most."""
    if seconds * 1_000_000 <= PROBE_MICROSECONDS:
        return options
    return options | {"analyzeduration": str(round(seconds * 1_000_000)), "probesize": str(PROBE_BYTES * 100)}


def open_file(path: Path) -> InputContainer:
    """Open a media file, and nothing else, whatever stands in it.

    libav gets the open file and no name. It may use no protocol by which it could open another, and no format that
    would want to; references in MP4 to media elsewhere are not followed either, which is libav's own default.

    Args:
        path: of the file, links resolved.

    Raises:
        OSError: when it cannot be opened, is no regular file any more, or libav (whose errors these are as well) finds
            no media of an allowed format in it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise FileNotFoundError(f"{path} is no regular file")
        return av.open("fd:", options=file_options(descriptor), timeout=(OPEN_SECONDS, READ_SECONDS))
    finally:
        # libav has a duplicate of its own.
        os.close(descriptor)


def file_options(descriptor: int) -> dict[str, str]:
    """Return libav's options for reading the file that is open as `descriptor` and for opening nothing else."""
    return {
        "fd": str(descriptor),
        "protocol_whitelist": "fd",
        "format_whitelist": FILE_FORMATS,
        "enable_drefs": "0",
        "use_absolute_path": "0",
    }


def explain(error: Exception, uri: FeedUri) -> str:
    """Return what went wrong at opening or reading, in words for viewers as well as operators.

    So it neither holds credentials nor says where the source is: libav's own texts have the whole URI.
    """
    if isinstance(error, av.error.ArgumentError) and not uri.scheme.is_network:
        return "it is no media file of a kind that is read (MP4, Matroska, MPEG-TS, AVI and others; no playlists)"
    for kind, sentence in _SENTENCES:
        if isinstance(error, kind):
            return sentence
    if uri.scheme.is_network and isinstance(error, OSError) and _is_unknown_host(uri):
        return "the source's host name cannot be resolved"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[:1].lower() + error.strerror[1:]
    return type(error).__name__


def _is_unknown_host(uri: FeedUri) -> bool:
    """Name resolution fails as an input/output error in libav; look whether it was that."""
    try:
        socket.getaddrinfo(urlsplit(uri.address).hostname, None)
    except (OSError, ValueError):  # the latter for what cannot be a name at all
        return True
    return False


_SENTENCES: list[tuple[type[Exception], str]] = [
    (av.error.HTTPUnauthorizedError, "the server refuses the user name or password (401)"),
    (av.error.HTTPForbiddenError, "the server forbids access to this path (403)"),
    (av.error.HTTPNotFoundError, "the server has nothing at this path (404)"),
    (av.error.HTTPOtherClientError, "the server refuses the request (4xx)"),
    (av.error.HTTPServerError, "the server failed (5xx)"),
    (av.error.ProtocolNotFoundError, "a protocol that is not allowed would be needed"),
    (av.error.ExitError, "no answer in time"),
    (av.error.TimeoutError, "no answer in time"),
    (ConnectionRefusedError, "connection refused: nothing listens at the source's address"),
    (av.error.EOFError, "the server closed the connection"),
    (av.error.InvalidDataError, "no media in what was received"),
    (FileNotFoundError, "there is no such file"),
    (IsADirectoryError, "that is a folder"),
    (PermissionError, "this process may not read it"),
]
