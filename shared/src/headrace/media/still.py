"""One picture out of a chunk, as JPEG or PNG. Takes milliseconds to seconds of a core: run it in a thread."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import Any, Final, Literal

import av
import av.error
from av.video.frame import VideoFrame

PIXELS_MAX: Final = 8192 * 4320
"""Largest picture that is decoded, 8K: a header may claim any size, and each pixel takes bytes."""

WIDTH_MIN: Final = 16
WIDTH_MAX: Final = 4096
"""Narrowest and widest picture that is made."""

StillFormat = Literal["jpeg", "png"]

JPEG_QUALITY: Final = "3"
"""libav's quantiser, from 2 (best) to 31: at 3 nobody sees a difference, and a 1080p picture has some 200 KB."""


_ENCODERS: Final[dict[StillFormat, str]] = {"jpeg": "mjpeg", "png": "png"}
_PIXELS: Final[dict[StillFormat, str]] = {"jpeg": "yuvj420p", "png": "rgb24"}


class NoPicture(Exception):
    """A chunk that no picture could be made of; the sentence says why."""


def make_still(header: bytes, media: bytes, form: StillFormat, width: int | None = None) -> bytes:
    """Return the first picture of a chunk that decoding can begin with.

    Args:
        header: CMAF header (ftyp and moov) of its track.
        media: its moof and mdat.
        form: what to make of it.
        width: in pixels, never more than it has; the height follows. As it is when absent.

    Raises:
        NoPicture: when it cannot be decoded, or is larger than `PIXELS_MAX`.
    """
    try:
        frame = _decode(header + media)
        return _encode(frame, form, min(width or frame.width, frame.width, WIDTH_MAX))
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        raise NoPicture(f"it cannot be decoded: {type(error).__name__}") from None


def _decode(data: bytes) -> VideoFrame:
    with av.open(BytesIO(data), "r", format="mp4") as container:
        if not container.streams.video:
            raise NoPicture("it has no video")
        stream = container.streams.video[0]
        context = stream.codec_context
        if context.width * context.height > PIXELS_MAX:
            raise NoPicture(f"{context.width}x{context.height} is more than is decoded here")
        context.thread_count = 1
        for frame in container.decode(stream):
            return frame
    raise NoPicture("no picture came out of the decoder")


def _encode(frame: VideoFrame, form: StillFormat, width: int) -> bytes:
    width = max(WIDTH_MIN, width - width % 2)
    height = max(2, round(frame.height * width / frame.width / 2) * 2)
    picture = frame.reformat(width, height, format=_PIXELS[form])
    picture.pts, picture.time_base = 0, Fraction(1, 25)
    encoder: Any = av.CodecContext.create(_ENCODERS[form], "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, _PIXELS[form], Fraction(1, 25)
    if form == "jpeg":
        encoder.options = {"qmin": JPEG_QUALITY, "qmax": JPEG_QUALITY}
    return b"".join(bytes(packet) for packet in (*encoder.encode(picture), *encoder.encode(None)))
