"""The time that programs read off the test pattern."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headrace_ingress.cells import CELLS, TIME_BITS, cell_pixels, decode_cells, encode_cells, read_cells

times = st.integers(0, (1 << TIME_BITS) - 1)


def levels(utc_ms: int, black: float = 16, white: float = 235) -> list[float]:
    return [white if cell else black for cell in encode_cells(utc_ms)]


def test_a_known_row() -> None:
    """The layout that docs promise to other languages: references, 42 bits, digit sum."""
    row = "".join("1" if cell else "0" for cell in encode_cells(0x19A0B0C0D0E))
    assert row == "100110011010000010110000110000001101000011100110"
    assert int(row[2:44], 2) == 0x19A0B0C0D0E
    assert int(row[44:], 2) == (1 + 9 + 0xA + 0 + 0xB + 0 + 0xC + 0 + 0xD + 0 + 0xE) % 16


@given(times, st.floats(0, 100), st.floats(120, 255))
def test_what_is_written_is_read(utc_ms: int, black: float, white: float) -> None:
    """Any time, at any brightness and contrast."""
    assert decode_cells(levels(utc_ms, black, white)) == utc_ms


@given(times, st.integers(2, CELLS - 1))
def test_a_wrong_cell_is_no_reading(utc_ms: int, cell: int) -> None:
    """One cell that was misread makes the sum wrong."""
    row = levels(utc_ms)
    row[cell] = 251 - row[cell]
    assert decode_cells(row) is None


def test_a_flat_picture_is_no_reading() -> None:
    """A grey, cropped or short row holds no time."""
    assert decode_cells([128.0] * CELLS) is None
    assert decode_cells(levels(1)[:-1]) is None
    assert read_cells(bytes(100), 10, 10) is None


def test_cells_fit_the_picture() -> None:
    """Cells are a macroblock wide where the row fits, and never wider than the picture."""
    assert cell_pixels(1280) == cell_pixels(768) == 16
    assert cell_pixels(640) == 12
    assert cell_pixels(128) == 2
