"""Targets that listen for SRT: they are called through libsrt, and sent MPEG-TS. Pure."""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

STREAM_ID_MAX_BYTES: Final = 512
"""Longest stream id (libsrt, SRTO_STREAMID)."""

LATENCY_MAX_MS: Final = 60_000
"""Longest wait for lost packets, in milliseconds."""

_OPTIONS: Final = {
    "streamid": re.compile(rf"[^\x00-\x1f\x7f]{{1,{STREAM_ID_MAX_BYTES}}}"),
    "passphrase": re.compile(r"[^\x00-\x1f\x7f]{10,79}"),
    "latency": re.compile(r"[0-9]{1,5}"),
    "mode": re.compile("caller"),
}


def srt_job(uri: str, address: str | None) -> dict[str, Any]:
    """Return what the muxer's process is told to call a listener.

    Args:
        uri: `srt://host:port[?streamid=…&passphrase=…&latency=<milliseconds>]`.
        address: the checked IP address of its host.

    Raises:
        ValueError: when the address says something else; the sentence holds nothing of it.
    """
    parts = urlsplit(uri)
    if parts.port is None or "@" in parts.netloc or parts.path.strip("/"):
        raise ValueError("an SRT target is written srt://host:port?streamid=…&passphrase=…&latency=milliseconds")
    asked = parse_qs(parts.query, keep_blank_values=True, max_num_fields=16)
    for name, values in asked.items():
        if name not in _OPTIONS or not _OPTIONS[name].fullmatch(values[0]):
            raise ValueError(f"an SRT target has {', '.join(_OPTIONS)} and nothing else, each as SRT allows it")
    said = {name: asked[name][0] for name in ("streamid", "passphrase") if name in asked}
    latency_ms = min(int(asked.get("latency", ["0"])[0]), LATENCY_MAX_MS)
    where = {"host": address or parts.hostname or "", "port": parts.port}
    return {"srt": {**where, **said, "latency_ms": latency_ms}, "format": "mpegts", "options": {"flush_packets": "1"}}
