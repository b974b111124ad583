"""Targets that listen for SRT: an ffmpeg process calls them and sends MPEG-TS, since libav as PyAV brings it has none.

Stream id and passphrase are the right to publish. They reach ffmpeg by a file that has no name, not by its arguments,
which everybody on the machine may read.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Final
from urllib.parse import parse_qs, urlsplit

from headrace_edge.push.carrying import PushFailed
from headrace_edge.push.muxed import END_SECONDS, Process

STREAM_ID_MAX_BYTES: Final = 512
"""Longest stream id (libsrt, SRTO_STREAMID)."""

LATENCY_MAX_MS: Final = 60_000
"""Longest wait for lost packets, in milliseconds."""

SAID_MAX_BYTES: Final = 4096
"""How much of what ffmpeg says is read at once; it tells its progress twice a second in some 300 bytes."""

_OPTIONS: Final = {
    "streamid": re.compile(rf"[^\x00-\x1f\x7f]{{1,{STREAM_ID_MAX_BYTES}}}"),
    "passphrase": re.compile(r"[^\x00-\x1f\x7f]{10,79}"),
    "latency": re.compile(r"[0-9]{1,5}"),
    "mode": re.compile("caller"),
}
_SENT: Final = re.compile(rb"total_size=[1-9]")


class SrtMuxer:
    """Speaks to a listener.

    Args:
        uri: `srt://host:port[?streamid=…&passphrase=…&latency=<milliseconds>]`.
        address: the checked IP address of its host.

    Raises:
        ValueError: when the address says something else; the sentence holds nothing of it.
    """

    def __init__(self, uri: str, address: str | None) -> None:
        parts = urlsplit(uri)
        if parts.port is None or "@" in parts.netloc or parts.path.strip("/"):
            raise ValueError("an SRT target is written srt://host:port?streamid=…&passphrase=…&latency=milliseconds")
        host = address or parts.hostname or ""
        self._url = f"srt://{f'[{host}]' if ':' in host else host}:{parts.port}?mode=caller"
        self._secrets = ""
        for name, values in parse_qs(parts.query, keep_blank_values=True, max_num_fields=16).items():
            if name not in _OPTIONS or not _OPTIONS[name].fullmatch(values[0]):
                raise ValueError(f"an SRT target has {', '.join(_OPTIONS)} and nothing else, each as SRT allows it")
            if name == "latency":
                self._url += f"&latency={min(int(values[0]), LATENCY_MAX_MS) * 1000}"  # ffmpeg counts microseconds
            elif name != "mode":
                self._secrets += f"{name}={values[0]}\n"

    def start(self) -> Process:
        """See `Muxer`."""
        program = shutil.which("ffmpeg")
        if program is None:
            raise PushFailed("unsupported", "this node has no program ffmpeg, which speaks SRT", is_final=True)
        secrets = os.memfd_create("srt")
        try:
            os.write(secrets, self._secrets.encode())
            command = [program, "-nostdin", "-hide_banner", "-loglevel", "quiet"]
            command += ["-progress", "pipe:1", "-stats_period", "0.5"]
            command += ["-protocol_whitelist", "pipe", "-fflags", "nobuffer", "-probesize", "32"]
            command += ["-analyzeduration", "0", "-f", "mp4", "-i", "pipe:0", "-map", "0", "-c", "copy"]
            command += ["-fpre", f"/dev/fd/{secrets}", "-protocol_whitelist", "srt", "-flush_packets", "1"]
            command += ["-f", "mpegts", self._url]
            return subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                pass_fds=(secrets,),
            )
        finally:
            os.close(secrets)

    def greeting(self) -> bytes:
        """See `Muxer`: the program was told by its arguments."""
        return b""

    def has_taken(self, process: Process) -> bool:
        """See `Muxer`: it tells its progress as long as it runs."""
        assert process.stdout is not None
        return _SENT.search(os.read(process.stdout.fileno(), SAID_MAX_BYTES)) is not None

    def failure(self, process: Process) -> PushFailed:
        """See `Muxer`: why it ended ffmpeg tells nobody but people."""
        process.wait(END_SECONDS)
        return PushFailed("unreachable", "the other server cannot be reached by SRT, refuses, or ended the connection")
