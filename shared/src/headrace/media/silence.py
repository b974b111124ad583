"""Frames of silence, for tracks of sound that a source declared and does not send.

Players wait for every track of a stream: where sound is missing, the picture stops too.
"""

from __future__ import annotations

from headrace.wire.stream import Track

_AAC = {
    1: bytes.fromhex("00c800802380"),
    2: bytes.fromhex("210049900219002380"),
}
"""A raw_data_block of AAC-LC without spectrum, by number of channels (ISO/IEC 14496-3, 4.4.2.1)."""

_OPUS = bytes.fromhex("f8fffe")
"""20 ms of fullband CELT with the silence flag (RFC 6716, section 4.3)."""


def silent_frame(track: Track) -> bytes:
    """Return one frame of silence for `track`, nothing where none is known."""
    if track.codec == "mp4a.40.2":
        return _AAC.get(track.channels, b"")
    return _OPUS if track.codec == "opus" and track.channels in {1, 2} else b""
