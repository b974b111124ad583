"""The test pattern: a moving picture with a running clock, and a beep each second on the second. Pure arithmetic.

The picture is planar YUV 4:2:0 in video range. Colour bars and a grey ramp stand still, a ball swings to and fro once
in two seconds, a hand runs along the lower edge once a second, the clock shows UTC with milliseconds, and the cells
above (`headrace_ingress.cells`) hold the same time for programs. Only what moves is drawn anew, so a picture costs its
copy and little more.
"""

from __future__ import annotations

import math
from array import array
from datetime import UTC, datetime

from headrace_ingress.cells import cell_pixels, encode_cells
from headrace_ingress.font import ADVANCE, GLYPH_HEIGHT, render_glyphs

BLACK, WHITE = 16, 235
"""Luma of black and white in video range."""

_BARS = [(180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198), (65, 100, 212), (35, 212, 114)]
"""Luma and chroma (Y, Cb, Cr) of the bars: grey, yellow, cyan, green, magenta, red, blue, at 75 %."""

CLOCK_CHARACTERS = len("2026-11-20 09:46:06.123")

SWING_SECONDS = 2.0
"""How long the ball takes to and fro."""

BEEP_HERTZ = 1000
BEEP_SECONDS = 0.1
BEEP_LEVEL = 0.25
"""Share of full scale: to be heard, not to be feared."""


class Picture:
    """Draws pictures of one size.

    Attributes:
        chroma: the Cb and the Cr plane, which never change.
    """

    def __init__(self, width: int, height: int, stride: int, chroma_stride: int) -> None:
        """Prepare what stands still.

        Args:
            width, height: in pixels, even.
            stride, chroma_stride: bytes from row to row of the luma plane and of the others.
        """
        self.width, self.height, self.stride = width, height, stride
        self._scale = max(1, width // ((CLOCK_CHARACTERS + 1) * ADVANCE))
        self._glyphs = render_glyphs(self._scale, WHITE, BLACK)
        self._clock_top = height * 3 // 8
        self._radius = max(4, height // 12)
        self._ball = _disc_spans(self._radius)
        self._still = self._draw_still()
        self.chroma = (self._plane(1, chroma_stride), self._plane(2, chroma_stride))

    def draw(self, utc_ms: int) -> bytearray:
        """Return the luma plane for a time in milliseconds since 1970."""
        luma = bytearray(self._still)
        self._draw_ball(luma, utc_ms)
        self._draw_hand(luma, utc_ms)
        self._draw_clock(luma, utc_ms)
        self._draw_cells(luma, utc_ms)
        return luma

    def _draw_still(self) -> bytes:
        bars = self._row(0, self.width, self.stride)
        ramp = bytes(BLACK + (WHITE - BLACK) * x // self.stride for x in range(self.stride))
        rows_of_bars = self.height * 3 // 4
        return bars * rows_of_bars + ramp * (self.height - rows_of_bars)

    def _row(self, plane: int, width: int, stride: int) -> bytes:
        """One row of bars; what the stride has beyond the width repeats the last."""
        return bytes(_BARS[min(x * len(_BARS) // width, len(_BARS) - 1)][plane] for x in range(stride))

    def _plane(self, plane: int, stride: int) -> bytes:
        rows_of_bars = self.height * 3 // 8
        grey = bytes([128]) * stride
        clock = range(self._clock_top // 2, (self._clock_top + self._clock_height) // 2)
        cells = range(cell_pixels(self.width) // 2)
        row = self._row(plane, self.width // 2, stride)
        coloured = (grey if y in clock or y in cells else row for y in range(rows_of_bars))
        return b"".join(coloured) + grey * (self.height // 2 - rows_of_bars)

    @property
    def _clock_height(self) -> int:
        return (GLYPH_HEIGHT + 4) * self._scale

    def _draw_ball(self, luma: bytearray, utc_ms: int) -> None:
        phase = utc_ms / 1000 / SWING_SECONDS % 1 * 2 * math.pi
        reach = self.width // 2 - self._radius
        centre = self.width // 2 + round(reach * math.sin(phase))
        top = self.height * 5 // 8 - self._radius
        for row, half in enumerate(self._ball):
            start = (top + row) * self.stride + centre - half
            luma[start : start + 2 * half] = bytes([WHITE]) * (2 * half)

    def _draw_hand(self, luma: bytearray, utc_ms: int) -> None:
        width = max(2, self.width // 160)
        left = utc_ms % 1000 * (self.width - width) // 1000
        for row in range(self.height * 15 // 16, self.height):
            start = row * self.stride + left
            luma[start : start + width] = bytes([WHITE]) * width

    def _draw_clock(self, luma: bytearray, utc_ms: int) -> None:
        text = clock_text(utc_ms)
        lines = [b"".join(self._glyphs[character][row] for character in text) for row in range(GLYPH_HEIGHT)]
        left = (self.width - len(lines[0])) // 2
        blank = bytes([BLACK]) * self.width
        for row in range(self._clock_height):
            glyph_row = row // self._scale - 2
            start = (self._clock_top + row) * self.stride
            luma[start : start + self.width] = blank
            if 0 <= glyph_row < GLYPH_HEIGHT:
                luma[start + left : start + left + len(lines[0])] = lines[glyph_row]

    def _draw_cells(self, luma: bytearray, utc_ms: int) -> None:
        side = cell_pixels(self.width)
        line = b"".join(bytes([WHITE if cell else BLACK]) * side for cell in encode_cells(utc_ms))
        for row in range(side):
            luma[row * self.stride : row * self.stride + len(line)] = line


def clock_text(utc_ms: int) -> str:
    """Return a time in milliseconds since 1970 as the clock shows it."""
    moment = datetime.fromtimestamp(utc_ms // 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{utc_ms % 1000:03d}"


def _disc_spans(radius: int) -> list[int]:
    """Return half the width of each row of a disc."""
    return [round(math.sqrt(max(0, radius**2 - (row - radius) ** 2))) for row in range(2 * radius + 1)]


class Beeper:
    """The sound: mono, 32-bit float, a beep at the beginning of each second and silence after it."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        beep = array("f", (_beep(n, sample_rate) for n in range(round(BEEP_SECONDS * sample_rate))))
        second = beep + array("f", bytes(4 * (sample_rate - len(beep))))
        # Two seconds, so that any frame up to a second long is one slice.
        self._sound = (second * 2).tobytes()

    def samples(self, position: int, count: int) -> bytes:
        """Return `count` samples (at most a second) from `position`, in samples since a full UTC second."""
        start = position % self.sample_rate * 4
        return self._sound[start : start + count * 4]


def _beep(sample: int, sample_rate: int) -> float:
    """A sine that swells and fades over 5 ms, for a hard edge is a click."""
    seconds = sample / sample_rate
    edge = min(1.0, seconds / 0.005, (BEEP_SECONDS - seconds) / 0.005)
    return BEEP_LEVEL * edge * math.sin(2 * math.pi * BEEP_HERTZ * seconds)
