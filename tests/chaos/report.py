"""The table, for people and for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from chaos.measuring import Row

RESULT = Path("build/chaos.json")
PAGE = Path("docs/chaos.md")
BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"

KINDS = {"relay": "an intermediate's by its children", "edge": "an edge's by its viewers", "ingress": "an ingress's"}


def _what(row: Row) -> str:
    """Return what was done, and whether that could show anything."""
    return row.text if row.served or row.kind not in {"relay", "edge"} else f"{row.text}; served nobody"


COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("fault", lambda row: row.name),
    ("what", _what),
    ("lost", lambda row: str(row.lost)),
    ("twice", lambda row: str(row.duplicated)),
    ("pause p50", lambda row: f"{row.pause_ms_p50:.0f}"),
    ("p99", lambda row: f"{row.pause_ms_p99:.0f}"),
    ("max", lambda row: f"{row.pause_ms_max:.0f}"),
    ("noticed", lambda row: "–" if row.detection_ms is None else f"{row.detection_ms:.0f}"),
    ("nodes moved", lambda row: str(row.moves) if row.moves_counted else "–"),
    ("of them others", lambda row: str(row.moves_elsewhere) if row.moves_counted else "–"),
    ("viewers moved", lambda row: str(row.viewer_moves)),
    ("extra KiB", lambda row: f"{row.extra_bytes / 1024:.0f}"),
)


def line(row: Row) -> str:
    """Return one row for the terminal."""
    moved = f"{row.moves} (others {row.moves_elsewhere})" if row.moves_counted else "–"
    noticed = "" if row.detection_ms is None else f", noticed after {row.detection_ms:.0f} ms"
    words = (
        f"{row.name:16} {row.victim:10} lost {row.lost}, twice {row.duplicated}, pause p50 {row.pause_ms_p50:.0f} "
        f"p99 {row.pause_ms_p99:.0f} max {row.pause_ms_max:.0f} ms{noticed}, moved: nodes {moved}, "
        f"viewers {row.viewer_moves}; extra {row.extra_bytes / 1024:.0f} KiB, "
        f"interruptions {row.interruptions}"
    )
    more = [f"left behind: {row.left_behind}"] if row.left_behind else []
    more += [row.problem] if row.problem else []
    return "\n    ".join([words, *more, *row.details])


def table(rows: Sequence[Row]) -> str:
    """Return all rows in Markdown."""
    lines = ["| " + " | ".join(name for name, _ in COLUMNS) + " |"]
    lines.append("|" + "|".join("---" if number < 2 else "---:" for number in range(len(COLUMNS))) + "|")
    lines += ["| " + " | ".join(cell(row) for _, cell in COLUMNS) + " |" for row in rows]
    return "\n".join(lines)


def write_json(rows: Sequence[Row], quiet: Row, **facts: Any) -> None:
    """Write build/chaos.json."""
    RESULT.parent.mkdir(exist_ok=True)
    answer = {**facts, "machine": machine(), "quiet": quiet.as_json(), "rows": [row.as_json() for row in rows]}
    RESULT.write_text(json.dumps(answer, indent=2) + "\n")


def write_page(rows: Sequence[Row], quiet: Row, text: str) -> None:
    """Put the table between the marks of docs/chaos.md."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{text}\n\n{detection(rows)}\n\n{table([quiet, *rows])}\n{END}{after}")


def detection(rows: Sequence[Row]) -> str:
    """Return in words how long it took at most until a loss was noticed; a delay is none."""
    losses = [row for row in rows if row.detection_ms is not None and not row.name.endswith("-delay")]
    longest = {kind: max((r.detection_ms or 0.0 for r in losses if r.kind == kind), default=0.0) for kind in KINDS}
    words = [f"{who} within {longest[kind]:.0f} ms" for kind, who in KINDS.items() if longest[kind]]
    return f"A loss was noticed: {', '.join(words)}."


def machine() -> dict[str, Any]:
    """Return what it ran on."""
    return {
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 2),
    }
