"""docs/configuration.md says what the settings are."""

from __future__ import annotations

from pathlib import Path

from headrace.service.documentation import document
from headrace.service.loading import settings_by_location, variable_name

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"


def test_page_is_up_to_date() -> None:
    """The page is what the settings give; if not, `python -m headrace.service.documentation` writes it anew."""
    assert PAGE.read_text() == document()


def test_page_has_every_setting() -> None:
    """Every setting is there under the name it has in the environment."""
    page = PAGE.read_text()
    assert [name for location in settings_by_location() if (name := variable_name(*location)) not in page] == []
