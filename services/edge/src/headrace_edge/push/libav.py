"""Targets of libav's muxers: RTMP, RTSP and SRT. Packets go through as they are, by a process for each push."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from headrace_edge.push.carrying import PushFailed
from headrace_edge.push.muxed import END_SECONDS, Process

TAKEN: Final = b'["taken", ""]'
"""What the muxer says when the target took media."""

FORMATS: Final = {"rtmp": "flv", "rtmps": "flv", "rtsp": "rtsp", "rtsps": "rtsp"}
"""libav's muxer by scheme."""

WHITELIST: Final = {
    "rtmp": "rtmp,tcp",
    "rtmps": "rtmps,tls,tcp",
    "rtsp": "rtsp,rtp,tcp",
    "rtsps": "rtsp,rtsps,rtp,tls,tcp",
}
"""What libav may use for each: nothing that the scheme does not need."""


class LibavMuxer:
    """Speaks to another server by one of libav's muxers.

    Args:
        job: what the process is told, credentials included; see `headrace_edge.push.muxer`.
    """

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._job = job
        self._said = b""

    def start(self) -> Process:
        """See `Muxer`."""
        self._said = b""
        command = [sys.executable, "-m", "headrace_edge.push.muxer"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def greeting(self) -> bytes:
        """See `Muxer`: the first line says where to, for arguments stand in lists of processes."""
        return json.dumps(self._job).encode() + b"\n"

    def has_taken(self, process: Process) -> bool:
        """See `Muxer`: its first word is that the target takes media, or why it does not."""
        assert process.stdout is not None
        self._said = process.stdout.readline(4096) or self._said
        if self._said.strip() != TAKEN:
            return False
        self._said = b""
        return True

    def failure(self, process: Process) -> PushFailed:
        """See `Muxer`."""
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


def libav_job(uri: str, address: str | None) -> dict[str, Any]:
    """Return the job for a target that libav itself speaks to: the URL with the address that was checked, and options.

    Args:
        uri: with credentials.
        address: the checked IP address of its host.
    """
    scheme = uri.partition(":")[0].lower()
    options = {"protocol_whitelist": WHITELIST[scheme]}
    parts, url = urlsplit(uri), uri
    if scheme.startswith("rtsp"):
        options["rtsp_transport"] = "tcp"
    if scheme in {"rtmps", "rtsps"}:
        options |= {"tls_verify": "1", "verifyhost": parts.hostname or ""}
    if address is not None:
        user, at, _ = parts.netloc.rpartition("@")
        host = f"[{address}]" if ":" in address else address
        port = f":{parts.port}" if parts.port else ""
        url = urlunsplit(parts._replace(netloc=f"{user}{at}{host}{port}"))
        if scheme.startswith("rtmp"):
            app = parts.path.lstrip("/").rpartition("/")[0]
            options["rtmp_tcurl"] = f"{scheme}://{parts.hostname}{port}/{app}"
    return {"url": url, "format": FORMATS[scheme], "options": options}
