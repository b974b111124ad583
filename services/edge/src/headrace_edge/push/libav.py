"""Targets that libav's muxers speak to: RTMP, RTSP and SRT. Packets go through as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import av
import av.error

from headrace.media.boxes import BoxError, combine_headers, strip_prft
from headrace_edge.push.carrying import PushFailed
from headrace_edge.push.pacing import Begin, Conveyor

STALL_SECONDS: Final = 5.0
"""How long a target may take nothing before it is given up."""

FORMATS: Final = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtsps": "rtsp", "srt": "mpegts"}
"""libav's muxer by scheme."""

WHITELIST: Final = {
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtsp": "rtsp,rtp,tcp",
    "rtsps": "rtsp,rtsps,rtp,tls,tcp",
    "srt": "srt",
}
"""What libav may use for each: nothing that the scheme does not need."""


class _End(Exception):
    """The epoch is over, or the push."""


@dataclass(slots=True)
class _ChunkFile:
    """What a conveyor brings, as a file for libav's MP4 reader; it ends where the headers change."""

    conveyor: Conveyor
    header: bytes
    tracks: set[int]
    next: Begin | None = None
    _rest: memoryview = field(default=memoryview(b""))

    def __post_init__(self) -> None:
        self._rest = memoryview(self.header)

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; none at the end."""
        while not self._rest:
            if self.next is not None or (item := self.conveyor.get()) is None:
                return b""
            if isinstance(item, Begin):
                if header_of(item)[0] != self.header:
                    self.next = item
                    return b""
            elif item.id.track in self.tracks:
                self._rest = strip_prft(item.media)
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data


def header_of(begin: Begin) -> tuple[bytes, set[int]]:
    """Return the header of the first video and the first audio track, and their numbers."""
    chosen = [
        track
        for kind in ("video", "audio")
        for track in sorted(begin.tracks, key=lambda one: one.track)
        if track.kind == kind
    ]
    first = [next((track for track in chosen if track.kind == kind), None) for kind in ("video", "audio")]
    tracks = [track for track in first if track is not None]
    return combine_headers([track.header for track in tracks]), {track.track for track in tracks}


class LibavTarget:
    """Sends a stream to another server by one of libav's muxers.

    Args:
        uri: with credentials.
        address: the checked IP address of its host.
    """

    def __init__(self, uri: str, address: str | None) -> None:
        self._uri = uri
        self._scheme = uri.partition(":")[0].lower()
        self._address = address

    def write(self, conveyor: Conveyor) -> None:
        """See `Target`."""
        begin: Begin | None = None
        while begin is None:
            item = conveyor.get()
            if item is None:
                return
            begin = item if isinstance(item, Begin) else None
        while begin is not None:
            try:
                begin = self._send(conveyor, begin)
            except (av.error.FFmpegError, OSError) as error:
                raise PushFailed(*explain(error)) from None
            except (BoxError, ValueError) as error:
                raise PushFailed("broken", f"the target cannot take this stream: {error}") from None

    def _send(self, conveyor: Conveyor, begin: Begin) -> Begin | None:
        """Send one file; return the epoch that began with other headers, `None` at the end."""
        header, tracks = header_of(begin)
        file = _ChunkFile(conveyor, header, tracks)
        options = {"protocol_whitelist": "none", "enable_drefs": "0", "use_absolute_path": "0"}
        quick = {"fflags": "nobuffer", "probesize": "32", "analyzeduration": "0"}
        with av.open(file, "r", format="mp4", options={**options, **quick}) as source:
            self._mux(source)
        return file.next

    def _mux(self, source: Any) -> None:
        url, options = self._where()
        timeout = (STALL_SECONDS, STALL_SECONDS)
        with av.open(url, "w", format=FORMATS[self._scheme], options=options, timeout=timeout) as target:
            streams = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
            base: Fraction | None = None
            for packet in source.demux():
                if packet.dts is None or packet.size == 0:
                    continue
                seconds = packet.dts * packet.time_base
                if base is None:
                    base = seconds
                if seconds < base:
                    continue
                shift = int(base / packet.time_base)
                packet.dts -= shift
                packet.pts = None if packet.pts is None else packet.pts - shift
                packet.stream = streams[packet.stream.index]
                target.mux(packet)

    def _where(self) -> tuple[str, dict[str, str]]:
        """Return the URL with the address that was checked, and options for libav."""
        options = {"protocol_whitelist": WHITELIST[self._scheme], "rw_timeout": str(int(STALL_SECONDS * 1e6))}
        parts = urlsplit(self._uri)
        if self._scheme.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
            options.pop("rw_timeout")
        if self._scheme in {"rtmps", "rtsps"}:
            options |= {"tls_verify": "1", "verifyhost": parts.hostname or ""}
        if self._address is None:
            return self._uri, options
        user, at, _ = parts.netloc.rpartition("@")
        host = f"[{self._address}]" if ":" in self._address else self._address
        port = f":{parts.port}" if parts.port else ""
        if self._scheme.startswith("rtmp"):
            app = parts.path.lstrip("/").rpartition("/")[0]
            own = f":{parts.port}" if parts.port else ""
            options["rtmp_tcurl"] = f"{self._scheme}://{parts.hostname}{own}/{app}"
        return urlunsplit(parts._replace(netloc=f"{user}{at}{host}{port}")), options


def is_supported(scheme: str) -> bool:
    """Return whether this process's libav speaks what the scheme needs."""
    from av.format import formats_available  # the list is long: asked only when a push begins

    needed = {"rtsps": "rtsp", "rtmps": "flv", "rtmp": "flv", "rtsp": "rtsp"}
    return scheme in needed and needed[scheme] in formats_available


def explain(error: Exception) -> tuple[str, str]:
    """Return a code and a sentence without credentials; libav's own text holds the URL."""
    match error:
        case av.error.ExitError() | TimeoutError():
            return "timeout", "the other server took nothing in time"
        case ConnectionRefusedError():
            return "unreachable", "the other server refuses connections"
        case av.error.HTTPError() | PermissionError():
            return "refused", "the other server refuses the stream"
        case BrokenPipeError() | ConnectionError():
            return "lost", "the other server ended the connection"
    return "unreachable", f"the other server cannot be reached or refuses: {type(error).__name__}"
