"""Targets that libav's muxers speak to: RTMP and RTSP. Packets go through as they are, by a process for each push."""

from __future__ import annotations

import json
import select
import signal
import subprocess
import sys
from contextlib import suppress
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from headrace.media.boxes import BoxError, combine_headers, strip_prft
from headrace.wire.stream import Track
from headrace_edge.push.carrying import PushFailed
from headrace_edge.push.pacing import Begin, Conveyor

TAKEN: Final = b'["taken", ""]'
"""What the muxer says when the target took media."""

END_SECONDS: Final = 1.0
"""How long the muxer may take to say goodbye to its target."""

FORMATS: Final = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtsps": "rtsp"}
"""libav's muxer by scheme."""

WHITELIST: Final = {
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtsp": "rtsp,rtp,tcp",
    "rtsps": "rtsp,rtsps,rtp,tls,tcp",
}
"""What libav may use for each: nothing that the scheme does not need."""


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
        self._process: subprocess.Popen[bytes] | None = None
        self._said = b""

    def abort(self) -> None:
        """See `Target`."""
        if self._process is not None:
            self._process.kill()

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
            except BoxError as error:
                raise PushFailed("broken", f"the target cannot take this stream: {error}") from None

    def _send(self, conveyor: Conveyor, begin: Begin) -> Begin | None:
        """Send what belongs to one header; return the epoch that began with another, `None` at the end."""
        self._said = b""
        header, numbers = header_of(begin.tracks)
        command = [sys.executable, "-m", "headrace_edge.push.muxer"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            self._process = process
            assert process.stdin is not None
            try:
                process.stdin.write(json.dumps(self.job()).encode() + b"\n" + header)
                following = self._feed(conveyor, process, header, numbers)
                process.stdin.close()
                process.wait(END_SECONDS)
            except BrokenPipeError:
                raise self._failure(process) from None
            except subprocess.TimeoutExpired:
                return None
            finally:
                process.kill()
                with suppress(BrokenPipeError):
                    process.stdin.close()
        return following

    def _feed(
        self, conveyor: Conveyor, process: subprocess.Popen[bytes], header: bytes, numbers: frozenset[int]
    ) -> Begin | None:
        assert process.stdin is not None
        is_taken = False
        while (item := conveyor.get()) is not None:
            if isinstance(item, Begin):
                if header_of(item.tracks)[0] != header:
                    return item
            elif item.id.track in numbers:
                process.stdin.write(strip_prft(item.media))
                process.stdin.flush()
            if not is_taken and _has_spoken(process):
                is_taken = True
                self._hear(conveyor, process)
        return None

    def _hear(self, conveyor: Conveyor, process: subprocess.Popen[bytes]) -> None:
        """Take the muxer's first word: that the target takes media, or why it does not."""
        assert process.stdout is not None
        self._said = process.stdout.readline(4096)
        if self._said.strip() == TAKEN:
            self._said = b""
            conveyor.taken()

    def _failure(self, process: subprocess.Popen[bytes]) -> PushFailed:
        """Return what the muxer said at its end."""
        assert process.stdout is not None
        said = self._said or process.stdout.readline(4096)
        if said.strip() == TAKEN:
            said = process.stdout.readline(4096)
        if process.wait(END_SECONDS) == -signal.SIGALRM:
            return PushFailed("timeout", "the other server took nothing in time")
        try:
            code, text = json.loads(said)
        except ValueError:
            return PushFailed("fault", f"the muxer ended by itself ({process.returncode})")
        return PushFailed(str(code), str(text), is_final=code == "unsupported")

    def job(self) -> dict[str, Any]:
        """Return what the muxer is told: the URL with the address that was checked, and options for libav."""
        options = {"protocol_whitelist": WHITELIST[self._scheme]}
        parts = urlsplit(self._uri)
        if self._scheme.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"
        if self._scheme in {"rtmps", "rtsps"}:
            options |= {"tls_verify": "1", "verifyhost": parts.hostname or ""}
        url = self._uri
        if self._address is not None:
            user, at, _ = parts.netloc.rpartition("@")
            host = f"[{self._address}]" if ":" in self._address else self._address
            port = f":{parts.port}" if parts.port else ""
            url = urlunsplit(parts._replace(netloc=f"{user}{at}{host}{port}"))
            if self._scheme.startswith("rtmp"):
                app = parts.path.lstrip("/").rpartition("/")[0]
                options["rtmp_tcurl"] = f"{self._scheme}://{parts.hostname}{port}/{app}"
        return {"url": url, "format": FORMATS[self._scheme], "options": options}


def header_of(tracks: tuple[Track, ...]) -> tuple[bytes, frozenset[int]]:
    """Return the header of the first video and the first audio track, and their numbers."""
    by_kind: dict[str, Track] = {}
    for track in sorted(tracks, key=lambda one: one.track):
        if track.kind in {"video", "audio"}:
            by_kind.setdefault(track.kind, track)
    chosen = [by_kind[kind] for kind in ("video", "audio") if kind in by_kind]
    return combine_headers([track.header for track in chosen]), frozenset(track.track for track in chosen)


def _has_spoken(process: subprocess.Popen[bytes]) -> bool:
    """Return whether there is something to read of the muxer, or its end, without waiting."""
    poll = select.poll()  # select() itself takes no file numbers above 1023
    assert process.stdout is not None
    poll.register(process.stdout, select.POLLIN)
    return bool(poll.poll(0))
