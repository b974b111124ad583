"""How a probe's figures are shown: a live table on a terminal, lines elsewhere, JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from headrace_standalone.probe.measure import Measurement

EVENTS_SHOWN = 8
"""Newest events under the live table."""


class Report:
    """Shows what a probe tells; used as a context around its run.

    Args:
        stream: what is watched.
        as_json: one JSON object a line, the last of them the summary.
    """

    def __init__(self, stream: str, as_json: bool) -> None:
        self._stream = stream
        self._json = as_json
        self._console = Console()
        self._events: list[str] = []
        self._live: Live | None = None

    def __enter__(self) -> Report:
        if not self._json and self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()

    def tell(self, kind: str, figures: dict[str, Any]) -> None:
        """Show an event."""
        if self._json:
            _print_json({"type": kind, **figures})
            return
        line = _sentence(kind, figures)
        self._events = [*self._events, line][-EVENTS_SHOWN:]
        if self._live is None:
            self._console.print(line, highlight=False, markup=False)

    def update(self, measurement: Measurement, now: float) -> None:
        """Show the figures as they are now; called about once a second."""
        if self._json:
            _print_json({"type": "progress", **measurement.summary(now)})
        elif self._live is not None:
            self._live.update(self._table(measurement, now), refresh=True)
        else:
            self._console.print(_line(measurement, now), highlight=False, markup=False)

    def finish(self, measurement: Measurement, now: float) -> None:
        """Show the summary."""
        if self._json:
            _print_json({"type": "summary", **measurement.summary(now)})
            return
        self._console.print(self._table(measurement, now))

    def _table(self, measurement: Measurement, now: float) -> Table:
        grid = Table.grid(padding=(0, 2))
        latency = measurement.latency()
        route = " → ".join([*measurement.route, "here"])
        grid.add_row("stream", f"{self._stream}  {measurement.state}  {measurement.reason}")
        grid.add_row("route", route)
        grid.add_row("latency", f"p50 {_ms(latency['p50'])}   p99 {_ms(latency['p99'])}   max {_ms(latency['max'])}")
        grid.add_row("chunks", _counts(measurement))
        for number, figures in sorted(measurement.tracks.items()):
            codec = figures.track.codec if figures.track else "?"
            rate = figures.bits_per_second(now, measurement.began) / 1000
            last = figures.continuity.last
            grid.add_row(f"track {number}", f"{codec}  {rate:,.0f} kbit/s  at {last.id if last else '-'}")
        for event in self._events if self._live is not None else ():
            grid.add_row("", Text(event, style="dim"))
        return grid


def _counts(measurement: Measurement) -> str:
    text = f"{measurement.chunks}, missing {measurement.missing}, twice {measurement.duplicates}"
    return f"{text}, longest pause {measurement.longest_pause * 1000:.0f} ms, connections {measurement.connections}"


def _line(measurement: Measurement, now: float) -> str:
    latency = measurement.latency()
    rate = sum(figures.bits_per_second(now, measurement.began) for figures in measurement.tracks.values()) / 1000
    return (
        f"{now - measurement.began:6.1f} s  {measurement.state}  latency p50 {_ms(latency['p50'])} "
        f"p99 {_ms(latency['p99'])}  {rate:,.0f} kbit/s  chunks {_counts(measurement)}"
    )


def _sentence(kind: str, figures: dict[str, Any]) -> str:
    match kind:
        case "missing":
            how = "announced by the edge" if figures["told"] else "seen"
            return (
                f"missing: {figures['chunks']} or more chunks between {figures['after']} and {figures['before']}, {how}"
            )
        case "state":
            reason = f" ({figures['reason']})" if figures["reason"] else ""
            return f"state: {figures['state']}{reason} by {' → '.join(figures['route']) or 'nobody'}"
        case "connected":
            return f"connected to {figures['edge']} at {figures['url']}"
        case "lost":
            return f"connection lost: {figures['reason']}; going on at {figures['next_edge']}"
        case "tracks":
            return f"epoch {figures['epoch']}: {', '.join(figures['codecs'])}"
    return f"{kind}: {figures}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document), file=sys.stdout, flush=True)
