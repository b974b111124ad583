"""Targets that libav's muxers speak to: RTMP and RTSP. Packets go through as they are, by a process for each push."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
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
        uri: with credentials.
        address: the checked IP address of its host.
    """

    def __init__(self, uri: str, address: str | None) -> None:
        self._uri = uri
        self._scheme = uri.partition(":")[0].lower()
        self._address = address
        self._said = b""

    def start(self) -> Process:
        """See `Muxer`."""
        self._said = b""
        command = [sys.executable, "-m", "headrace_edge.push.muxer"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def greeting(self) -> bytes:
        """See `Muxer`: the first line says where to, for arguments stand in lists of processes."""
        return json.dumps(self.job()).encode() + b"\n"

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
