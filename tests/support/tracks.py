"""Descriptions of tracks as ingress makes them, for tests to which their media do not matter."""

from __future__ import annotations

from typing import Any

from headrace.wire.stream import Track


def video_track(**changes: Any) -> Track:
    """Return H.264 of 720p; `changes` are its fields."""
    fields: dict[str, Any] = {
        "track": 1, "kind": "video", "codec": "avc1.64001f", "timescale": 90_000, "header": b"ftyp and moov of video",
        "width": 1280, "height": 720, "frame_rate": 25.0,
    }  # fmt: skip
    return Track(**{**fields, **changes})


def audio_track(**changes: Any) -> Track:
    """Return AAC in stereo at 48 kHz; `changes` are its fields."""
    fields: dict[str, Any] = {
        "track": 2, "kind": "audio", "codec": "mp4a.40.2", "timescale": 48_000, "header": b"ftyp and moov of audio",
        "sample_rate": 48_000, "channels": 2,
    }  # fmt: skip
    return Track(**{**fields, **changes})
