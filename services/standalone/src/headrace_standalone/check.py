"""`headrace check`: what a feed is, told to people and programs."""

from __future__ import annotations

import json

import msgspec
from rich.console import Console

from headrace.clock import SystemClock
from headrace.errors import EXIT_FAILURE, EXIT_OK, ConfigurationError
from headrace.registry.feed_uri import InvalidUri, parse_uri
from headrace_ingress.check.findings import Findings, TrackFindings
from headrace_ingress.check.look import look
from headrace_ingress.source import SourceBroken


def check(text: str, seconds: float, as_json: bool) -> int:
    """Look at the feed of a URI and tell what it is; return the exit code.

    Raises:
        ConfigurationError: when it is no URI of a feed.
    """
    try:
        uri = parse_uri(text, trusted=True)
    except InvalidUri as error:
        raise ConfigurationError(f"URI: {error}") from None
    console = Console()
    try:
        findings = look(uri, seconds, SystemClock())
    except SourceBroken as broken:
        if as_json:
            print(json.dumps({"source": str(uri), "error": str(broken)}))
        else:
            console.print(f"[bold red]{uri}[/]: {broken}", soft_wrap=True)
        return EXIT_FAILURE
    if as_json:
        print(msgspec.json.encode(findings).decode())
    else:
        show(console, findings)
    return EXIT_OK


def show(console: Console, findings: Findings) -> None:
    """Print findings for people."""
    console.print(f"[bold]{findings.source}[/] opened in {findings.opened_seconds:.2f} s", soft_wrap=True)
    for track in findings.tracks:
        console.print(f"  {track.kind:<6} {_describe(track)}", soft_wrap=True, highlight=False)
    played = ", ".join(f"{browser}: {verdict}" for browser, verdict in findings.browsers.items())
    console.print(f"  played by  {played}", soft_wrap=True, highlight=False)
    for note in findings.notes:
        console.print(f"  note: {note}", soft_wrap=True, highlight=False)
    for sentence in findings.advice or ("All is well.",):
        console.print(f"  - {sentence}", soft_wrap=True, highlight=False)


def _describe(track: TrackFindings) -> str:
    rate = f"{track.bits_per_second / 1000:.0f} kbit/s, packets up to {track.jitter_seconds * 1000:.0f} ms late"
    if track.kind != "video":
        return f"{track.codec}, {track.sample_rate} Hz, {track.channels} channels, {rate}"
    gop = "not seen twice" if track.gop_seconds is None else f"every {track.gop_seconds:g} s"
    frames = f"{track.frame_rate:g} frames/s{'' if track.is_steady else ' (varying)'}"
    return f"{track.codec}, {track.width}x{track.height}, {frames}, keyframes {gop}, {rate}"
