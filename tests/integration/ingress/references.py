"""Files that name other files, as somebody makes them who wants to see what this process may read."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path


def playlist(path: Path, names: str) -> None:
    """Write an HLS playlist whose only segment is `names`."""
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.8,\n{names}\n#EXT-X-ENDLIST\n")


def concat(path: Path, names: str) -> None:
    """Write a list for libav's concat demuxer."""
    path.write_text(f"ffconcat version 1.0\nfile '{names}'\n")


def manifest(path: Path, names: str) -> None:
    """Write a DASH manifest whose only representation is `names`."""
    path.write_text(
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1000">'
        f"<BaseURL>{names}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )


def session(path: Path, names: str) -> None:
    """Write an SDP description that has libav listen on a port."""
    path.write_text("v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 32\n")


def subtitle_index(path: Path, names: str) -> None:
    """Write a VobSub index; its subtitles lie in a file of the same name, other suffix."""
    path.write_text("# VobSub index file, v7\nsize: 720x576\ntimestamp: 00:00:01:000, filepos: 000000000\n")


REFERENCES: dict[str, Callable[[Path, str], None]] = {
    "list.m3u8": playlist,
    "list.mp4": playlist,
    "list.ffconcat": concat,
    "list.ts": concat,
    "list.mpd": manifest,
    "list.sdp": session,
    "list.idx": subtitle_index,
}
"""What writes a file that names another, by the name it is written under; suffixes may lie."""


def refer_elsewhere(mov: bytes, target: Path) -> bytes:
    """Return a QuickTime file, its `moov` last, whose media lie in `target` by its data reference."""
    path = str(target).encode().replace(b"/", b":")
    alias = bytes(10) + bytes([0]) + bytes(27) + bytes(12) + bytes([0]) + bytes(63) + bytes(16)
    alias += struct.pack(">hh", -1, -1) + bytes(16)
    alias += struct.pack(">hH", 2, len(path)) + path + bytes(len(path) % 2) + struct.pack(">hH", -1, 0)
    alias += bytes(max(0, 160 - len(alias)))
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    reference = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    # The data reference of the handler in front is another; the media's is the one in `minf`.
    return _replace(mov, [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"], reference)


def _replace(data: bytes, path: list[bytes], new: bytes) -> bytes:
    """Return boxes with the first one at a path replaced, and the sizes of those around it corrected."""
    if not path:
        return new
    done, position = b"", 0
    while position < len(data):
        size = int.from_bytes(data[position : position + 4], "big")
        if data[position + 4 : position + 8] == path[0]:
            box = data[position : position + size]
            if len(path) > 1:
                inner = _replace(box[8:], path[1:], new)
                box = struct.pack(">I4s", 8 + len(inner), path[0]) + inner
            else:
                box = new
            return done + box + data[position + size :]
        done += data[position : position + size]
        position += size
    raise ValueError(f"no box {path[0]!r}")
