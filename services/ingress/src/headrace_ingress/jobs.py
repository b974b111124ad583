"""What a reader is told: which feed, from where, and how it is cut. Plain values, so that they travel to a worker."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import assert_never

from headrace.clock import Clock
from headrace.identifiers import StreamName
from headrace.media.samples import PackagerOptions
from headrace.registry.feed_uri import FeedUri, Scheme, Transport
from headrace_ingress.arriving import Arrivals, PublishedSource
from headrace_ingress.backup import BackupSource
from headrace_ingress.encoder import PatternSource
from headrace_ingress.file import FileSource
from headrace_ingress.pull import PulledSource
from headrace_ingress.slate import Slate, SlateSource
from headrace_ingress.source import Source


@dataclass(frozen=True, slots=True)
class ReaderOptions:
    """What all readers of a process have in common; the settings groups `packager` and `ingress`.

    Attributes:
        packager: how feeds are cut.
        file_roots: folders that files of untrusted URIs lie below.
        stall_seconds: silence after which a feed is broken.
        networks: private networks that sources which the own configuration does not name may reach, as `10.0.0.0/8`.
    """

    packager: PackagerOptions = PackagerOptions()
    file_roots: tuple[Path, ...] = ()
    stall_seconds: float = 5.0
    networks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a feed.

    Attributes:
        stream: its name.
        uri: where from; `None` for what a publisher sends.
        preferred: what is gone back to when it can be opened again; `None` for nothing.
        transport: how RTSP media travels unless the URI says.
        loop: whether a file begins again unless the URI says.
        fail_back_seconds: how often the preferred one is tried.
        is_held: whether the reader waits to be told where the numbers stand, once it has media: a slate may play.
        slate: what to play instead of reading anything.
    """

    stream: StreamName
    uri: FeedUri | None = None
    preferred: FeedUri | None = None
    transport: Transport = "tcp"
    loop: bool = True
    fail_back_seconds: float = 30.0
    is_held: bool = False
    slate: Slate | None = None


def make_source(
    job: Job, options: ReaderOptions, arrivals: Arrivals, clock: Clock, stopping: threading.Event
) -> Source:
    """Return the source of a job; `arrivals` is where a publisher's files come from."""
    if job.slate is not None:
        return SlateSource(job.slate, options.packager, clock, stopping)
    if job.uri is None:
        return PublishedSource(arrivals, options.packager, options.stall_seconds, clock, stopping)
    source = _source_of(job.uri, job, options, clock, stopping)
    preferred = job.preferred
    if preferred is None:
        return source
    return BackupSource(
        source, lambda: _source_of(preferred, job, options, clock, stopping), job.fail_back_seconds, stopping
    )


def _source_of(uri: FeedUri, job: Job, options: ReaderOptions, clock: Clock, stopping: threading.Event) -> Source:
    match uri.scheme:
        case (
            Scheme.RTSP
            | Scheme.RTSPS
            | Scheme.RTMP
            | Scheme.RTMPS
            | Scheme.HTTP
            | Scheme.HTTPS
            | Scheme.UDP
            | Scheme.SRT
        ):
            networks = [ip_network(text) for text in options.networks]
            return PulledSource(uri, job.transport, networks, options.packager, options.stall_seconds, clock, stopping)
        case Scheme.FILE:
            return FileSource(uri, options.file_roots, job.loop, options.packager, clock, stopping)
        case Scheme.TEST:
            return PatternSource(uri.pattern, options.packager, clock, stopping)
        case Scheme.WS | Scheme.WSS | Scheme.HEADRACE | Scheme.HEADRACES:
            raise AssertionError("another cluster's chunks are not read, but taken as they are")
    assert_never(uri.scheme)
