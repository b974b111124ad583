"""Looks at a feed for a while, with the very sources that would feed a stream."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from headrace.clock import Clock
from headrace.media.samples import PackagerOptions
from headrace.registry.feed_uri import FeedUri, Scheme
from headrace.transport.reaching import Network
from headrace.wire.stream import Track
from headrace_ingress.check.browsers import all_played
from headrace_ingress.check.findings import Findings, TrackLog, advise
from headrace_ingress.encoder import PatternSource
from headrace_ingress.file import FileSource
from headrace_ingress.pull import PulledSource
from headrace_ingress.source import Source, SourceBroken, SourceEnded

STALL_SECONDS = 5.0
"""Silence after which a feed counts as broken, as ingress has it unless told otherwise."""

BEGIN_SECONDS = 0.5
"""What comes in this time was there already when the source was opened: it says nothing about how packets arrive."""


def look(
    uri: FeedUri, seconds: float, clock: Clock, networks: Sequence[Network] = (), roots: Sequence[Path] = ()
) -> Findings:
    """Open a feed, read it for `seconds`, and return what was seen.

    Args:
        uri: where it is.
        seconds: how long.
        clock: tells when packets come.
        networks: private networks that it may be in, if it is not trusted.
        roots: folders that its file lies below, if it is not trusted.

    Raises:
        SourceBroken: when it cannot be opened, breaks, or nothing comes.
    """
    notes: list[str] = []
    source = make_source(uri, clock, networks, roots)
    begun = clock.monotonic()
    try:
        source.open(notes.append)
        opened = clock.monotonic()
        logs = _read(source, seconds, clock)
    finally:
        source.close()
    tracks = tuple(log.findings() for log in logs.values())
    if not any(track.frames for track in tracks):
        raise SourceBroken("it was opened, and nothing came")
    browsers = all_played([track.codec for track in tracks])
    told = tuple(dict.fromkeys(notes))
    return Findings(str(uri), round(opened - begun, 3), seconds, tracks, browsers, told, advise(tracks))


def make_source(uri: FeedUri, clock: Clock, networks: Sequence[Network], roots: Sequence[Path]) -> Source:
    """Return the source of a URI, as an ingress makes it.

    Raises:
        SourceBroken: for a scheme that is another cluster's.
    """
    options, stopping = PackagerOptions(), threading.Event()
    match uri.scheme:
        case Scheme.FILE:
            return FileSource(uri, roots, False, options, clock, stopping)
        case Scheme.TEST:
            return PatternSource(uri.pattern, options, clock, stopping)
        case Scheme.WS | Scheme.WSS | Scheme.HEADRACE | Scheme.HEADRACES:
            raise SourceBroken("what comes from another Headrace is packaged already: watch it with headrace probe")
    return PulledSource(uri, "tcp", networks, options, STALL_SECONDS, clock, stopping)


def _read(source: Source, seconds: float, clock: Clock) -> dict[int, TrackLog]:
    logs: dict[int, TrackLog] = {}
    begun = clock.monotonic()
    while (now := clock.monotonic()) - begun < seconds + BEGIN_SECONDS:
        try:
            samples = source.read()
        except SourceEnded:
            break
        except SourceBroken:
            if not logs:
                raise
            break
        _know(logs, source.tracks)
        now = clock.monotonic()
        for sample in samples if now - begun >= BEGIN_SECONDS else ():
            logs[sample.track].add(sample, now)
    return logs


def _know(logs: dict[int, TrackLog], tracks: tuple[Track, ...]) -> None:
    for track in tracks:
        if track.track not in logs or logs[track.track].track.header != track.header:
            logs[track.track] = TrackLog(track)
