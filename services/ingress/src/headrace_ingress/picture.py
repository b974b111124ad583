"""The picture of a slate: the built-in one, or a file of the operator's.

A file is looked at before it is decoded, for a small one may unfold to any size.
"""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import av.error
from av.filter import Graph

from headrace_ingress.font import ADVANCE, GLYPH_HEIGHT, render_glyphs

FILE_MAX_BYTES: Final = 8 * 1024 * 1024
"""Largest file of a picture: a photograph of 4096 pixels has half of it."""

SIDE_MAX: Final = 4096
"""Widest and highest picture of a file, in pixels."""

BT709: Final = 1
STUDIO_RANGE: Final = 1
"""The colours of all pictures here, by libav's numbers (ISO/IEC 23091-2): players guess where nothing is said."""

TEXT: Final = "NO SIGNAL"
PAPER: Final = (48, 150, 118)
"""The built-in picture's ground, a dark blue, as studio-range Y, Cb and Cr (ITU-R BT.709)."""
INK: Final = 200

_PNG = b"\x89PNG\r\n\x1a\n"
_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""JPEG's start-of-frame markers (ITU-T T.81, table B.1)."""


class BadPicture(Exception):
    """A file that cannot be a slate's picture; says why."""


def load_picture(path: Path) -> Any:
    """Return the first picture of a PNG or JPEG file, as libav decodes it.

    Raises:
        BadPicture: when the file cannot be read, is neither, is too large or is damaged.
    """
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise BadPicture(f"it cannot be read: {error.strerror}") from None
    if len(data) > FILE_MAX_BYTES:
        raise BadPicture(f"it has more than {FILE_MAX_BYTES // 1024**2} MiB")
    width, height = picture_size(data)
    if not (0 < width <= SIDE_MAX and 0 < height <= SIDE_MAX):
        raise BadPicture(f"its size is {width}x{height}, and at most {SIDE_MAX} pixels each way are taken")
    form = "png_pipe" if data.startswith(_PNG) else "jpeg_pipe"
    try:
        with av.open(io.BytesIO(data), "r", format=form, options={"protocol_whitelist": "none"}) as container:
            return next(container.decode(video=0))
    except (av.error.FFmpegError, StopIteration):
        raise BadPicture("it is damaged") from None


def picture_size(data: bytes) -> tuple[int, int]:
    """Return width and height as the header of a PNG (ISO/IEC 15948, 11.2.2) or JPEG file (ITU-T T.81, B.2.2) says.

    Raises:
        BadPicture: when it is neither.
    """
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
    at = 2 if data.startswith(b"\xff\xd8\xff") else len(data)
    while at + 9 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _SIZES:
            return int.from_bytes(data[at + 7 : at + 9]), int.from_bytes(data[at + 5 : at + 7])
        # A marker may be filled with bytes of 0xFF (B.1.1.2); a segment's length counts itself.
        at += 1 if data[at + 1] == 0xFF else 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
    raise BadPicture("it is neither PNG nor JPEG")


def fit(picture: Any, width: int, height: int) -> Any:
    """Return a decoded picture as yuv420p of a size, its proportions kept, with black around it.

    Raises:
        BadPicture: when libav cannot do that with its format.
    """
    try:
        return _fit(picture, width, height)
    except (av.error.FFmpegError, ValueError) as error:
        raise BadPicture(f"its format {picture.format.name} cannot be shown: {type(error).__name__}") from None


def _fit(picture: Any, width: int, height: int) -> Any:
    graph = Graph()
    source = graph.add_buffer(
        width=picture.width, height=picture.height, format=picture.format.name, time_base=Fraction(1)
    )
    scale = graph.add(
        "scale",
        f"{width}:{height}:force_original_aspect_ratio=decrease:force_divisible_by=2:out_range=tv:out_color_matrix=bt709",
    )
    pad = graph.add("pad", f"{width}:{height}:-1:-1:black")
    form = graph.add("format", "yuv420p")
    sink = graph.add("buffersink")
    graph.link_nodes(source, scale, pad, form, sink).configure()
    picture.pts = 0
    graph.push(picture)
    return graph.pull()


def draw_no_signal(width: int, height: int) -> Any:
    """Return the built-in picture as yuv420p."""
    frame = av.VideoFrame(width, height, "yuv420p")
    luma, *chroma = frame.planes
    for plane, value in zip(chroma, PAPER[1:], strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    luma.update(bytes(_luma(width, height, luma.line_size)))
    return frame


def _luma(width: int, height: int, stride: int) -> bytearray:
    """Return the brightness of each pixel: the text in the middle, half as wide as the picture."""
    drawn = bytearray([PAPER[0]]) * (stride * height)
    scale = max(1, width // (2 * ADVANCE * len(TEXT)))
    glyphs = render_glyphs(scale, INK, PAPER[0])
    lines = [b"".join(glyphs[character][row] for character in TEXT) for row in range(GLYPH_HEIGHT)]
    if len(lines[0]) > width or GLYPH_HEIGHT * scale > height:
        return drawn
    left, top = (width - len(lines[0])) // 2, (height - GLYPH_HEIGHT * scale) // 2
    for row in range(GLYPH_HEIGHT * scale):
        start = (top + row) * stride + left
        drawn[start : start + len(lines[0])] = lines[row // scale]
    return drawn
