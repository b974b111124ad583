"""The time as cells that a program can read off a picture.

A row of `CELLS` square cells begins in the upper left corner of the test pattern. A cell is `cell_pixels(width)` wide
and high; a white one is 1, a black one 0. To read it, take the brightness of each cell's centre from a canvas or frame
that has the picture's own size (or any size: the centre of cell `i` is at `(i + 0.5) * cell` of the picture's width),
and compare it with the middle of the two reference cells:

| cells | hold |
|---|---|
| 0 | 1, the white reference |
| 1 | 0, the black reference |
| 2 to 43 | UTC in milliseconds since 1970 when the picture was drawn, 42 bits, the highest first |
| 44 to 47 | the number's eleven hexadecimal digits added up, modulo 16, 4 bits |

So capture-to-glass latency is the reader's UTC less that number. A reading whose sum is wrong is no reading: the
picture was cropped, scaled or torn.
"""

from __future__ import annotations

from collections.abc import Sequence

TIME_BITS = 42
"""Enough for milliseconds until the year 2109."""

SUM_BITS = 4

CELLS = 2 + TIME_BITS + SUM_BITS
"""Cells in the row."""

CELL_PIXELS_MAX = 16
"""Largest side of a cell: one macroblock, which survives any encoder."""


def cell_pixels(width: int) -> int:
    """Return the side of a cell in a picture of `width` pixels: 16 where the row fits, else what fits, even."""
    return min(CELL_PIXELS_MAX, width // CELLS // 2 * 2)


def encode_cells(utc_ms: int) -> list[bool]:
    """Return the row for a time in milliseconds since 1970, white as True."""
    number = utc_ms % (1 << TIME_BITS)
    value = (number << SUM_BITS) | _digit_sum(number)
    bits = [bool(value >> shift & 1) for shift in range(TIME_BITS + SUM_BITS - 1, -1, -1)]
    return [True, False, *bits]


def decode_cells(levels: Sequence[float]) -> int | None:
    """Return the time in a row of brightnesses (any scale), or None when it holds none."""
    if len(levels) != CELLS or levels[0] <= levels[1]:
        return None
    middle = (levels[0] + levels[1]) / 2
    value = 0
    for level in levels[2:]:
        value = value << 1 | (level > middle)
    number = value >> SUM_BITS
    return number if value % (1 << SUM_BITS) == _digit_sum(number) else None


def read_cells(luma: bytes | bytearray | memoryview, stride: int, width: int) -> int | None:
    """Return the time in the luma plane of a picture, or None.

    Args:
        luma: the plane, from the first row on.
        stride: bytes from row to row.
        width: of the picture, in pixels.
    """
    side = cell_pixels(width)
    row = side // 2 * stride
    if side < 2 or len(luma) < row + CELLS * side:
        return None
    return decode_cells([luma[row + cell * side + side // 2] for cell in range(CELLS)])


def _digit_sum(number: int) -> int:
    total = 0
    while number:
        total += number & 0xF
        number >>= 4
    return total & 0xF
