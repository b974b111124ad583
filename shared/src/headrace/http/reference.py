"""An OpenAPI document for people: as a web page without foreign resources, and as Markdown. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One parameter or member: its name, what it may be, and what it means."""

    name: str
    kind: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One operation as it is shown."""

    tag: str
    method: str
    path: str
    summary: str
    description: str
    scope: str
    parameters: list[Row]
    body: str
    answers: list[Row]

    @property
    def anchor(self) -> str:
        """Where it stands on the page."""
        return re.sub(r"[^a-z0-9]+", "-", f"{self.method} {self.path}".lower()).strip("-")


def entries(document: Document) -> list[Entry]:
    """Return every operation, in the document's order, those of one tag together."""
    found = [
        Entry(
            tag=operation["tags"][0],
            method=method.upper(),
            path=path,
            summary=operation["summary"],
            description=operation.get("description", ""),
            scope=operation.get("x-scope", ""),
            parameters=[_parameter(parameter) for parameter in operation["parameters"]],
            body=_content(operation.get("requestBody", {})),
            answers=[Row(status, _content(answer), answer["description"]) for status, answer in _sorted(operation)],
        )
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = list(dict.fromkeys(entry.tag for entry in found))
    return sorted(found, key=lambda entry: tags.index(entry.tag))


def members(schema: Document) -> list[Row]:
    """Return the members of an object."""
    required = set(schema.get("required", ()))
    return [
        Row(name + ("" if name in required else "?"), kind(value), value.get("description", ""))
        for name, value in schema.get("properties", {}).items()
    ]


def kind(schema: Document) -> str:
    """Return in a few words what a value may be."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(kind(part) for part in schema["anyOf"] if part != {"type": "null"})
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {kind(schema.get('items', {}))}"
    limits = [text for name, text in _LIMITS.items() if name in schema for text in (text.format(schema[name]),)]
    default = [f"default {schema['default']}"] if schema.get("default") not in (None, "") else []
    return ", ".join([str(schema.get("type", "any")), *limits, *default])


_LIMITS = {
    "minimum": "from {}",
    "maximum": "to {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
}


def _sorted(operation: Document) -> list[tuple[str, Document]]:
    return sorted(operation["responses"].items())


def _parameter(parameter: Document) -> Row:
    name = parameter["name"] + ("" if parameter["required"] else "?")
    return Row(name, f"{parameter['in']}: {kind(parameter['schema'])}", parameter.get("description", ""))


def _content(part: Document) -> str:
    for media_type, content in part.get("content", {}).items():
        schema = content.get("schema", {})
        return kind(schema) if "json" in media_type else str(media_type)
    return ""


# -- Markdown --------------------------------------------------------------------------------------------------------


def as_markdown(document: Document) -> str:
    """Return the operations and models as Markdown, from second-level headings down."""
    lines: list[str] = []
    tag = ""
    for entry in entries(document):
        if entry.tag != tag:
            tag = entry.tag
            lines += [f"## {tag.capitalize()}", ""]
        lines += _markdown_entry(entry)
    lines += ["## Models", "", "Members with `?` may be absent.", ""]
    for name, schema in document["components"]["schemas"].items():
        lines += [f"### {name}", "", schema.get("description", ""), ""]
        lines += _markdown_table(("member", "is", "meaning"), members(schema)) or [f"{kind(schema)}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_entry(entry: Entry) -> list[str]:
    lines = [f"### `{entry.method} {entry.path}`", "", f"{entry.summary}. Needs `{entry.scope}`."]
    if entry.description:
        lines += ["", entry.description]
    lines += [""]
    lines += _markdown_table(("parameter", "is", "meaning"), entry.parameters)
    if entry.body:
        lines += [f"Body: {_code(entry.body)}.", ""]
    return lines + _markdown_table(("answer", "is", "when"), entry.answers)


def _markdown_table(head: tuple[str, str, str], rows: list[Row]) -> list[str]:
    if not rows:
        return []
    lines = [f"| {' | '.join(head)} |", "|---|---|---|"]
    for row in rows:
        cells = (f"`{row.name}`", _code(row.kind), row.meaning)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return [*lines, ""]


def _code(text: str) -> str:
    return f"`{text}`" if re.fullmatch(r"[A-Z]\w+", text) else text


# -- HTML ------------------------------------------------------------------------------------------------------------

STYLE = """\
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --line: #8884; --soft: #8881; }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
code, h3 { font-family: ui-monospace, monospace; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); text-transform: capitalize; }
h3 { margin: 2.5rem 0 .5rem; font-size: 1.05rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: .75rem 0; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
th { background: var(--soft); font-weight: 600; }
nav ul { columns: 2 22rem; padding-left: 1.2rem; font-size: .9rem; }
.scope { background: var(--soft); padding: .1rem .4rem; border-radius: .3rem; font-size: .85rem; }
"""


def as_html(document: Document, *, style_url: str, document_url: str) -> str:
    """Return the page; its style is at `style_url`, the document itself at `document_url`."""
    info = document["info"]
    title = html.escape(info["title"])
    return "".join(
        (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{title}</title><link rel="stylesheet" href="{html.escape(style_url)}"></head>\n<body>',
            f"<h1>{title}</h1><p>{html.escape(info['description'])}</p>",
            f'<p>Version {html.escape(info["version"])} · <a href="{html.escape(document_url)}">OpenAPI</a></p>\n',
            *_html_operations(entries(document)),
            *_html_models(document),
            "</body></html>\n",
        )
    )


def _html_operations(found: list[Entry]) -> Iterator[str]:
    links = (f'<li><a href="#{entry.anchor}">{html.escape(f"{entry.method} {entry.path}")}</a></li>' for entry in found)
    yield f"<nav><ul>{''.join(links)}</ul></nav>\n"
    tag = ""
    for entry in found:
        if entry.tag != tag:
            tag = entry.tag
            yield f"<h2>{html.escape(tag)}</h2>\n"
        yield f'<h3 id="{entry.anchor}">{html.escape(f"{entry.method} {entry.path}")}</h3>\n'
        yield f'<p>{_rich(entry.summary)}. <span class="scope">{html.escape(entry.scope)}</span></p>\n'
        yield f"<p>{_rich(entry.description)}</p>\n" if entry.description else ""
        yield _html_table(("parameter", "is", "meaning"), entry.parameters)
        yield f"<p>Body: {_link(entry.body)}</p>\n" if entry.body else ""
        yield _html_table(("answer", "is", "when"), entry.answers)


def _html_models(document: Document) -> Iterator[str]:
    yield "<h2>Models</h2>\n"
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="{name}">{name}</h3><p>{_rich(schema.get("description", ""))}</p>\n'
        yield _html_table(("member", "is", "meaning"), members(schema)) or f"<p>{_rich(kind(schema))}</p>\n"


def _html_table(head: tuple[str, str, str], rows: list[Row]) -> str:
    if not rows:
        return ""
    first = "".join(f"<th>{cell}</th>" for cell in head)
    rest = "".join(
        f"<tr><td><code>{html.escape(row.name)}</code></td><td>{_link(row.kind)}</td><td>{_rich(row.meaning)}</td></tr>"
        for row in rows
    )
    return f"<table><tr>{first}</tr>{rest}</table>\n"


def _link(text: str) -> str:
    return re.sub(r"\b([A-Z][a-z]+[A-Z]?\w*)\b", r'<a href="#\1">\1</a>', _rich(text))


def _rich(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
