"""The addresses that somebody who started Headrace wants to open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console

EDGE, FMP4, API = "edge", "fmp4", "control-api"
"""The names of the listeners whose addresses are told."""


def addresses(streams: Iterable[str], listening: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return what to open: a description and an address each, the most wanted first.

    Args:
        streams: the configured streams.
        listening: scheme, host and port (`https://host:port`) by listener name; a wildcard host is told as this
            machine's own.
    """
    at = {name: _reachable(address) for name, address in listening.items()}
    rows: list[tuple[str, str]] = []
    for stream in streams:
        if EDGE in at:
            rows.append((f"watch {stream}", f"{at[EDGE]}/watch/{stream}"))
        if FMP4 in at:
            rows.append((f"{stream} as plain fMP4", f"{at[FMP4].replace('http', 'ws', 1)}/{stream}"))
    if EDGE in at:
        rows.append(("all streams", f"{at[EDGE]}/"))
    if API in at:
        rows.append(("API", f"{at[API]}/api/v1/streams"))
    return rows


def show_addresses(console: Console, streams: Iterable[str], listening: Mapping[str, str]) -> None:
    """Print the addresses as lines in two columns."""
    names = list(streams)
    rows = addresses(names, listening)
    width = max((len(what) for what, _ in rows), default=0)
    console.print("\n[bold]Headrace is up.[/] Ctrl-C ends it.\n", soft_wrap=True)
    for what, address in rows:
        # No table: it would cut what somebody wants to copy.
        console.print(f"{what:<{width}}   [bold cyan]{address}[/]", soft_wrap=True, highlight=False)
    if not names:
        console.print("\nNo feeds yet: add --demo for a test pattern, or --source NAME=URI.")
    console.print()


def _reachable(address: str) -> str:
    scheme, _, place = address.partition("://")
    host, _, port = place.rpartition(":")
    return f"{scheme}://{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]'}.get(host, host) }:{port}"
