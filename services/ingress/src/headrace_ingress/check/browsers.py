"""What browsers play, by codec string: what their makers say, and what was seen where it could be tried. Pure.

What `isTypeSupported` says depends on hardware and system: a browser that says more than this plays more than this.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

BROWSERS: Final = ("Chrome", "Firefox", "Safari", "Edge")

_ALL: Final = dict.fromkeys(BROWSERS, "yes")
_HARDWARE: Final = "where the hardware decodes it"

_PLAYED: Final[dict[str, dict[str, str]]] = {
    "avc1": _ALL,
    "hvc1": {"Chrome": _HARDWARE, "Firefox": _HARDWARE, "Safari": "yes", "Edge": _HARDWARE},
    "av01": {"Chrome": "yes", "Firefox": "yes", "Safari": _HARDWARE, "Edge": "yes"},
    "vp09": _ALL,
    "mp4a": _ALL,
    "opus": {"Chrome": "yes", "Firefox": "yes", "Safari": "from 17 on", "Edge": "yes"},
    "flac": _ALL,
    "mp3": dict.fromkeys(BROWSERS, "no"),
}

_H264_PROFILES: Final = {0x42: "Baseline", 0x4D: "Main", 0x58: "Extended", 0x64: "High"}
"""H.264 profiles that browsers decode; the others have 10 bits or more colour (ITU-T H.264, annex A)."""


def played(codec: str) -> dict[str, str]:
    """Return, by browser, whether it plays a codec: `yes`, `no`, or on what it depends."""
    name = codec.partition(".")[0]
    if codec in {"mp4a.6b", "mp4a.69"}:
        return _PLAYED["mp3"]
    if name == "avc1" and profile_of(codec) is None:
        return dict.fromkeys(BROWSERS, "no")
    return _PLAYED.get(name, dict.fromkeys(BROWSERS, "no"))


def profile_of(codec: str) -> str | None:
    """Return the name of an H.264 codec string's profile, `None` for one that no browser decodes."""
    digits = codec.partition(".")[2][:2]
    try:
        return _H264_PROFILES.get(int(digits, 16))
    except ValueError:
        return None


def all_played(codecs: Sequence[str]) -> dict[str, str]:
    """Return, by browser, whether it plays a stream of several codecs: the worst of each."""
    verdicts = {}
    for browser in BROWSERS:
        told = [played(codec)[browser] for codec in codecs]
        verdicts[browser] = "no" if "no" in told else next((one for one in told if one != "yes"), "yes")
    return verdicts
