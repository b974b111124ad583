"""What is written about the API is what it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.http.reference import as_html, entries
from headrace_control_api.documentation import document, page

PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def test_page_is_up_to_date() -> None:
    """docs/api.md is what the API gives; if not, `python -m headrace_control_api.documentation` writes it anew."""
    assert PAGE.read_text() == page()


def test_every_operation_is_on_both_pages() -> None:
    """OpenAPI, the page at /docs and docs/api.md tell of the same operations, answers and models."""
    found = document()
    markdown = PAGE.read_text()
    html = as_html(found, style_url="/docs/style.css", document_url="/api/v1/openapi.json")
    operations = [(method.upper(), path) for path, methods in found["paths"].items() for method in methods]
    assert len(operations) == len(entries(found)) > 0
    for method, path in operations:
        assert f"### `{method} {path}`" in markdown
        assert f"{method} {path}</h3>" in html
    for name in found["components"]["schemas"]:
        assert f"### {name}\n" in markdown
        assert f'<h3 id="{name}">' in html


def test_every_reference_leads_somewhere() -> None:
    """The document is closed: what it refers to is in it."""
    found = document()
    text = json.dumps(found)
    wanted = {part.partition('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert wanted <= found["components"]["schemas"].keys()


@pytest.mark.parametrize("entry", entries(document()), ids=lambda entry: f"{entry.method} {entry.path}")
def test_every_operation_says_what_it_does(entry: object) -> None:
    """Each has a summary and at least the answers to those who may not ask."""
    statuses = {row.name for row in entry.answers}  # type: ignore[attr-defined]
    assert entry.summary  # type: ignore[attr-defined]
    assert {"400", "401", "403"} <= statuses
