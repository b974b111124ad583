"""What the test pattern looks and sounds like."""

from __future__ import annotations

from array import array

import pytest

from headrace_ingress.cells import read_cells
from headrace_ingress.font import GLYPH_HEIGHT, GLYPH_WIDTH, render_glyphs
from headrace_ingress.pattern import BEEP_SECONDS, BLACK, WHITE, Beeper, Picture, clock_text

UTC_MS = 1_795_168_762_345


@pytest.mark.parametrize(
    ("width", "height", "stride"), [(1280, 720, 1280), (640, 360, 640), (322, 180, 336), (128, 64, 128)]
)
def test_a_picture_holds_its_time(width: int, height: int, stride: int) -> None:
    """The cells of a picture say when it was drawn, at any size and stride; planes have the size they must."""
    picture = Picture(width, height, stride, stride // 2)
    luma = picture.draw(UTC_MS)
    assert len(luma) == stride * height
    assert [len(plane) for plane in picture.chroma] == [stride // 2 * (height // 2)] * 2
    assert read_cells(luma, stride, width) == UTC_MS


def test_pictures_move() -> None:
    """Two pictures differ in more than their clocks: the ball swings."""
    picture = Picture(640, 360, 640, 320)
    first, second = picture.draw(UTC_MS), picture.draw(UTC_MS + 500)
    ball = slice(640 * 200, 640 * 250)
    assert first[ball] != second[ball]


def test_drawing_leaves_no_trace() -> None:
    """A picture depends on its time alone."""
    picture = Picture(640, 360, 640, 320)
    first = picture.draw(UTC_MS)
    picture.draw(UTC_MS + 777)
    assert picture.draw(UTC_MS) == first


def test_the_clock_shows_utc() -> None:
    """Date and time with milliseconds."""
    assert clock_text(UTC_MS) == "2026-11-20 09:59:22.345"


def test_every_character_of_the_clock_has_a_glyph() -> None:
    """Glyphs are bitmaps of one size in two levels, and differ from one another."""
    glyphs = render_glyphs(2, WHITE, BLACK)
    assert set(clock_text(UTC_MS)) | set("0123456789") <= set(glyphs)
    for rows in glyphs.values():
        assert len(rows) == GLYPH_HEIGHT
        assert {len(row) for row in rows} == {2 * (GLYPH_WIDTH + 1)}
        assert {level for row in rows for level in row} <= {WHITE, BLACK}
    assert len({tuple(rows) for rows in glyphs.values()}) == len(glyphs)


def test_it_beeps_on_the_second() -> None:
    """Sound begins with each full second, is over after a tenth, and goes on without a seam between frames."""
    beeper = Beeper(48_000)
    sound = array("f", beeper.samples(48_000 * 1_795_168_762, 48_000))
    beep = round(BEEP_SECONDS * 48_000)
    assert max(abs(sample) for sample in sound[: beep // 2]) > 0.1
    assert max(abs(sample) for sample in sound[beep:]) == 0
    frames = b"".join(beeper.samples(position, 1024) for position in range(0, 96_000, 1024))
    assert frames[: 4 * 48_000] == sound.tobytes() == frames[4 * 48_000 :][: 4 * 48_000][: len(frames) - 4 * 48_000]
