"""How libav is asked to open things, and what its errors mean in words for people."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import av
import av.error

from headrace_ingress.uri import FeedUri, Transport

OPEN_SECONDS = 5.0
"""Longest time for connecting, and again for learning the tracks: cameras that wake up need two or three."""

PROBE_BYTES = 500_000
PROBE_MICROSECONDS = 500_000
"""How much libav looks at before it believes to know a live feed's tracks: RTSP describes them beforehand, so more
would only cost time. What it looked at is read afterwards, nothing is lost by it."""

RTSP_PROTOCOLS = "rtsp,rtp,udp,tcp"
RTSPS_PROTOCOLS = "rtsp,rtp,tcp,tls"
"""What libav may use for a feed, whatever a server or playlist redirects it to."""

REORDER_PACKETS = "64"
"""How many RTP packets libav waits for one that overtook others, over UDP."""


def rtsp_options(uri: FeedUri, transport: Transport) -> dict[str, str]:
    """Return libav's options for pulling from an RTSP server."""
    secure = urlsplit(uri.address).scheme == "rtsps"
    options = {
        "protocol_whitelist": RTSPS_PROTOCOLS if secure else RTSP_PROTOCOLS,
        "rtsp_transport": "tcp" if secure else transport,
        "analyzeduration": str(PROBE_MICROSECONDS),
        "probesize": str(PROBE_BYTES),
        "reorder_queue_size": REORDER_PACKETS if transport == "udp" else "0",
    }
    if secure:
        # Cameras sign their own certificates: TLS keeps the stream from listeners, it does not prove who sends it.
        options["tls_verify"] = "0"
    return options


def file_options() -> dict[str, str]:
    """Return libav's options for a file: what a playlist in it names is not opened."""
    return {"protocol_whitelist": "file"}


def explain(error: Exception, uri: FeedUri) -> str:
    """Return what went wrong at opening or reading, in words for viewers as well as operators.

    So it neither holds credentials nor says where the source is: libav's own texts have the whole URI.
    """
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
    except OSError:
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
