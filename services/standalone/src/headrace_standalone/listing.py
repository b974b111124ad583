"""Lists of streams and nodes for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

LINE_COLUMNS = 250
"""Width of tables that do not go to a terminal: whoever cuts columns out of them wants no breaks."""

_STATE_STYLES = {"live": "green", "interrupted": "yellow", "ended": "dim"}


def list_console() -> Console:
    """Return a console for tables, as wide as the terminal or, where there is none, wide enough."""
    console = Console()
    return console if console.is_terminal else Console(width=LINE_COLUMNS)


def show_streams(console: Console, streams: Iterable[Mapping[str, Any]]) -> None:
    """Print a table of streams as the API lists them."""
    rows = table("stream", "state", "tracks", "owner", "carried by")
    for stream in streams:
        style = _STATE_STYLES.get(stream["state"], "")
        tracks = ", ".join(_track(track) for track in stream["tracks"])
        state = f"[{style}]{stream['state']}[/]" if style else stream["state"]
        rows.add_row(stream["name"], state, tracks, stream["owner"], ", ".join(stream["nodes"]))
    print_table(console, rows, "no streams")


def show_nodes(console: Console, nodes: Iterable[Mapping[str, Any]]) -> None:
    """Print a table of nodes as the API lists them."""
    columns = ("node", "role", "layer", "region", "load", "streams", "relay url", "public url")
    rows = table(*columns)
    for node in nodes:
        name = f"{node['id']} (draining)" if node["draining"] else node["id"]
        urls = (node["relay_url"], node["public_url"])
        figures = (str(node["layer"]), node["region"], f"{node['load']:.0%}", str(len(node["streams"])))
        rows.add_row(name, node["role"], *figures, *urls)
    print_table(console, rows, "no nodes")


def show_viewers(console: Console, viewers: Iterable[Mapping[str, Any]], now: float) -> None:
    """Print a table of viewers as the API lists them; `now` is UTC in seconds."""
    rows = table("viewer", "stream", "edge", "door", "for", "address", "subject", "origin")
    for viewer in viewers:
        seconds = max(0, round(now - viewer["since_us"] / 1_000_000))
        since = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        who = (viewer["address"], viewer.get("subject", ""), viewer.get("origin", ""))
        rows.add_row(viewer["id"], viewer["stream"], viewer["node"], viewer["door"], since, *who)
    print_table(console, rows, "nobody watches")


def show_counts(console: Console, counts: Mapping[str, Any]) -> None:
    """Print how many watch, as the API counts them."""
    rows = table("what", "name", "viewers")
    for what in ("node", "stream", "door"):
        for row in counts[f"{what}s"]:
            rows.add_row(what, row[what], str(row["viewers"]))
    rows.add_row("cluster", "", str(counts["viewers"]))
    print_table(console, rows, "")


def table(*columns: str) -> Table:
    """Return a table to add rows to."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def print_table(console: Console, rows: Table, nothing: str) -> None:
    """Print a table, or `nothing` when it has no rows."""
    if rows.row_count:
        console.print(rows)
    else:
        console.print(nothing)


def _track(track: Mapping[str, Any]) -> str:
    size = f" {track['width']}×{track['height']}" if track["width"] else ""
    return f"{track['codec'] or track['kind']}{size}"
