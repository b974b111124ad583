"""The addresses that somebody who started Headrace wants to open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console
from rich.table import Table

EDGE, FMP4, API = "edge", "fmp4", "control-api"
"""The names of the listeners whose addresses are told."""


def addresses(streams: Iterable[str], listening: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what to open: a description and an address each, the most wanted first.

    Args:
        streams: the configured streams.
        listening: `host:port` by listener name; a wildcard host is told as this machine's own.
    """
    at = {name: _reachable(address) for name, address in listening.items()}
    rows: list[tuple[str, str]] = []
    for stream in streams:
        if EDGE in at:
            rows.append((f"watch {stream}", f"http://{at[EDGE]}/watch/{stream}"))
        if FMP4 in at:
            rows.append((f"{stream} as plain fMP4", f"ws://{at[FMP4]}/{stream}"))
    if EDGE in at:
        rows.append(("all streams", f"http://{at[EDGE]}/"))
    if API in at:
        rows.append(("API", f"http://{at[API]}/api/v1/streams"))
    return rows


def show_addresses(console: Console, streams: Iterable[str], listening: Mapping[str, str]) -> None:
    """Print the addresses as a small table."""
    names = list(streams)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 3, 0, 0))
    for what, address in addresses(names, listening):
        table.add_row(what, f"[bold cyan]{address}[/]")
    console.print("\n[bold]Headrace is up.[/] Ctrl-C ends it.\n")
    console.print(table, soft_wrap=True)
    if not names:
        console.print("\nNo feeds yet: add --demo for a test pattern, or --source NAME=URI.")
    console.print()


def _reachable(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"
