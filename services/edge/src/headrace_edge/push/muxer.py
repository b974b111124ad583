"""The program that speaks to a target by libav: MP4 comes in by standard input, and goes out as it is.

It is a process of its own because libav connects while it holds Python's global lock, and because a fault in it must
not end an edge. The first line of the input says where to, so that credentials stand in no list of processes. A target
that takes nothing is given up by the alarm signal, which needs no cooperation of anybody. What it says on
standard output are lines of JSON with a code and a sentence: `taken` when the target took media, and its last word.

The job is an object with the libav `format` and its `options`, and either the `url` to be opened by libav, or `srt`:
whom to call through libsrt, which libav as PyAV brings it does not have.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from fractions import Fraction
from typing import Any, Final

import av
import av.error

from headrace.transport.libsrt import Libsrt, SrtError, SrtRefused, SrtUnavailable

STALL_SECONDS: Final = 5.0
"""How long a target may take nothing before it is given up."""

MESSAGE_BYTES: Final = 7 * 188
"""Bytes of a message: packets of MPEG-TS that a datagram has room for, as everybody sends them."""

READING: Final = {"protocol_whitelist": "none", "enable_drefs": "0", "use_absolute_path": "0"}
"""libav's options for our own MP4: it refers to nothing outside."""

QUICK: Final = {"fflags": "nobuffer", "probesize": "32", "analyzeduration": "0"}
"""libav's options for not looking ahead: the header says all."""


def run(source: Any, job: dict[str, Any]) -> None:
    """Send what `source` brings to where `job` says, until it ends."""
    with av.open(source, "r", format="mp4", options={**READING, **QUICK}) as media:
        _arm(STALL_SECONDS)
        place = job["url"] if "url" in job else SrtFile(**job["srt"])
        with av.open(place, "w", format=job["format"], options=job["options"]) as target:
            streams = {stream.index: target.add_stream_from_template(stream) for stream in media.streams}
            target.start_encoding()
            _arm(0)
            _copy(media, target, streams)
            _arm(STALL_SECONDS)
    _arm(0)


def _copy(media: Any, target: Any, streams: dict[int, Any]) -> None:
    base: Fraction | None = None
    is_taken = False
    for packet in media.demux():
        if packet.dts is None or packet.size == 0:
            continue
        seconds = packet.dts * packet.time_base
        base = seconds if base is None else base
        if seconds < base:
            continue  # sound from before the first picture
        shift = int(base / packet.time_base)
        packet.dts -= shift
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.stream = streams[packet.stream.index]
        _arm(STALL_SECONDS)
        target.mux(packet)
        _arm(0)
        if not is_taken:
            is_taken = True
            print(json.dumps(("taken", "")), flush=True)


class SrtFile:
    """A listener of SRT as a file to be written; see `Libsrt.call` for the arguments.

    Raises:
        SrtUnavailable: when there is no libsrt.
        SrtError: when it is not reached, or refuses.
    """

    def __init__(self, host: str, port: int, **asked: Any) -> None:
        self._library = Libsrt()
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        self._handle = self._library.call(family, place, **asked)

    def write(self, data: bytes) -> int:
        """Send whole packets of MPEG-TS, as many in a message as one of live mode has."""
        for at in range(0, len(data), MESSAGE_BYTES):
            try:
                self._library.send(self._handle, bytes(data[at : at + MESSAGE_BYTES]))
            except SrtError as error:
                raise BrokenPipeError from error
        return len(data)


def explain(error: Exception) -> tuple[str, str]:
    """Return a code and a sentence without credentials; libav's own text holds the URL."""
    match error:
        case SrtUnavailable():
            return "unsupported", f"this node cannot push by SRT: {error}"
        case SrtRefused():
            return "refused", "the other server refuses the stream"
        case ConnectionRefusedError():
            return "unreachable", "the other server refuses connections"
        case av.error.HTTPError() | PermissionError():
            return "refused", "the other server refuses the stream"
        case BrokenPipeError() | ConnectionError():
            return "lost", "the other server ended the connection"
        case av.error.ProtocolNotFoundError():
            return "unsupported", "this node's libav does not speak that protocol"
    return "unreachable", f"the other server cannot be reached or refuses: {type(error).__name__}"


def _arm(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, seconds)


def main() -> None:
    """Run; end with 0 when the input ended, 1 when the target failed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started it ends it
    source = sys.stdin.buffer
    job = json.loads(source.readline(65536))
    try:
        run(source, job)
    except Exception as error:
        print(json.dumps(explain(error)), flush=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
