"""Lists of streams and nodes for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

_STATE_STYLES = {"live": "green", "interrupted": "yellow", "ended": "dim"}


def show_streams(console: Console, streams: Iterable[Mapping[str, Any]]) -> None:
    """Print a table of streams as the API lists them."""
    table = Table("stream", "state", "tracks", "owner", "carried by", box=None, pad_edge=False, header_style="bold")
    for stream in streams:
        style = _STATE_STYLES.get(stream["state"], "")
        tracks = ", ".join(_track(track) for track in stream["tracks"])
        state = f"[{style}]{stream['state']}[/]" if style else stream["state"]
        table.add_row(stream["name"], state, tracks, stream["owner"], ", ".join(stream["nodes"]))
    _print(console, table, "no streams")


def show_nodes(console: Console, nodes: Iterable[Mapping[str, Any]]) -> None:
    """Print a table of nodes as the API lists them."""
    columns = ("node", "role", "layer", "region", "load", "streams", "nodes reach it at", "browsers reach it at")
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for node in nodes:
        name = f"{node['id']} (draining)" if node["draining"] else node["id"]
        urls = (node["relay_url"], node["public_url"])
        figures = (str(node["layer"]), node["region"], f"{node['load']:.0%}", str(len(node["streams"])))
        table.add_row(name, node["role"], *figures, *urls)
    _print(console, table, "no nodes")


def _print(console: Console, table: Table, nothing: str) -> None:
    if table.row_count:
        console.print(table, soft_wrap=True)
    else:
        console.print(nothing)


def _track(track: Mapping[str, Any]) -> str:
    size = f" {track['width']}×{track['height']}" if track["width"] else ""
    return f"{track['codec'] or track['kind']}{size}"
