"""Digits and the letters that are needed, as bitmaps five pixels wide and seven high: no font file is."""

from __future__ import annotations

GLYPH_WIDTH = 5
GLYPH_HEIGHT = 7
ADVANCE = GLYPH_WIDTH + 1
"""Pixels from one character to the next."""

_GLYPHS = {
    "0": "01110 10001 10011 10101 11001 10001 01110",
    "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00010 00100 01000 11111",
    "3": "11111 00010 00100 00010 00001 10001 01110",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    ":": "00000 01100 01100 00000 01100 01100 00000",
    ".": "00000 00000 00000 00000 00000 01100 01100",
    "-": "00000 00000 00000 11111 00000 00000 00000",
    " ": "00000 00000 00000 00000 00000 00000 00000",
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "C": "01110 10001 10000 10000 10000 10001 01110",
    "N": "10001 11001 10101 10011 10001 10001 10001",
    "O": "01110 10001 10001 10001 10001 10001 01110",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "I": "01110 00100 00100 00100 00100 00100 01110",
    "G": "01110 10001 10000 10111 10001 10001 01110",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
}


def render_glyphs(scale: int, ink: int, paper: int) -> dict[str, list[bytes]]:
    """Return each character's rows of `ADVANCE * scale` bytes: `ink` where the glyph is, `paper` elsewhere.

    There is one row for each of the `GLYPH_HEIGHT` pixels; the drawer repeats it `scale` times.
    """
    dot, gap = bytes([ink]) * scale, bytes([paper]) * scale
    return {
        character: [b"".join(dot if bit == "1" else gap for bit in row) + gap for row in bitmap.split()]
        for character, bitmap in _GLYPHS.items()
    }
