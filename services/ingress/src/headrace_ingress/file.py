"""Media files at live speed, once or over and over."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error

from headrace.clock import Clock
from headrace.media.samples import PackagerOptions, Sample
from headrace.registry.feed_uri import FeedUri
from headrace.wire.stream import Track
from headrace_ingress.libav import explain, open_file
from headrace_ingress.live import is_hollow
from headrace_ingress.pacing import Interleaver, Pacer, at
from headrace_ingress.source import Note, SourceBroken, SourceEnded
from headrace_ingress.tracks import TrackFeed, choose_streams, make_feeds
from headrace_ingress.transcode import EncodedFeed

AT_ONCE_MAX = 64
"""Most samples that one read returns: a chunk has six or seven, and what was not paced for a second has more."""


def resolve_file(uri: FeedUri, roots: Sequence[Path]) -> Path:
    """Return the real path of a `file:` URI.

    Args:
        uri: a trusted one may be anywhere; any other lies, links resolved, below one of `roots`.
        roots: folders that may be read from.

    Raises:
        SourceBroken: when there is no such file, it is no regular file, or it lies elsewhere. Somebody who is not
            trusted is told the same in all these cases.
    """
    assert uri.path is not None
    try:
        path = uri.path.resolve(strict=True)
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        if uri.trusted:
            raise SourceBroken(explain(error, uri)) from None
        path, is_file = uri.path, False
    if not uri.trusted and not (is_file and any(path.is_relative_to(root.resolve()) for root in roots)):
        raise SourceBroken("there is no such file below the folders that may be read (ingress.file_roots)")
    if not is_file:
        raise SourceBroken("that is no file")
    return path


class FileSource:
    """Plays a file.

    A loop goes on where the lead track (the video, else the audio) ended: its decode times continue to the tick, the
    other track's within its own frame.

    Args:
        uri: a `file:` URI.
        roots: folders that untrusted URIs may name files in.
        loop: begin again at the end.
        options: how the feed is cut.
        clock: what it is paced by.
        stopping: ends every wait.
    """

    def __init__(
        self,
        uri: FeedUri,
        roots: Sequence[Path],
        loop: bool,
        options: PackagerOptions,
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self.tracks: tuple[Track, ...] = ()
        self.keeps = True
        self._uri = uri
        self._roots = roots
        self._loop = loop if uri.loop is None else uri.loop
        self._options = options
        self._stopping = stopping
        self._pacer = Pacer(clock, stopping)
        self._container: av.container.InputContainer | None = None
        self._feeds: dict[int, TrackFeed | EncodedFeed] = {}
        self._order = Interleaver({})
        self._packets: Iterator[av.Packet[Any]] = iter(())
        self._begin: int | None = None
        self._end = 0
        self._offset = Fraction(0)
        self._offset_seconds = 0.0
        self._described: tuple[Track, ...] = ()
        self._places: dict[int, tuple[int, int]] = {}
        self._at_end = False
        self._following: list[Sample] | None = None

    def open(self, note: Note) -> None:
        path = resolve_file(self._uri, self._roots)
        try:
            self._container = open_file(path)
        except (av.error.FFmpegError, OSError) as error:
            raise SourceBroken(explain(error, self._uri)) from None
        streams = choose_streams(self._container, note)
        self._feeds = make_feeds(streams, self._options, note, parser_delay=False)
        self._packets = self._container.demux(streams)
        self._at_end = False
        self._begin = None
        self._describe()

    def read(self) -> Sequence[Sample]:
        self._read_on()
        if not len(self._order):
            self._go_on()
            return []
        self._pacer.wait(self._due())
        samples: list[Sample] = []
        while len(self._order) and not self._stopping.is_set() and self._pacer.is_due(self._due()):
            samples.append(self._on_time(self._order.pop()))
            if len(samples) == AT_ONCE_MAX:
                break
            self._read_on()
        return samples

    def close(self) -> None:
        self._packets = iter(())
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _describe(self) -> None:
        """Take over the tracks as they are now; they stay the same objects while their headers are the same."""
        self._described = tracks = tuple(feed.track for feed in self._feeds.values())
        if headers(tracks) != headers(self.tracks):
            self.tracks = tracks
        self._order = Interleaver({track.track: track.timescale for track in tracks})
        self._offset_seconds = float(self._offset)
        self._places = {track.track: (track.timescale, round(self._offset * track.timescale)) for track in tracks}

    def _read_on(self) -> None:
        """Read until it is known which sample is next."""
        while not self._order.is_ready and not self._at_end and self._following is None:
            self._take(self._next_packet())

    def _go_on(self) -> None:
        """Everything that was read has been returned: go on with other headers, or with the next pass."""
        if self._following is None:
            self._end_pass()
            return
        samples, self._following = self._following, None
        self._describe()
        self._keep(samples)

    def _end_pass(self) -> None:
        """The file ended: end, or begin again with the time going on."""
        if not self._loop:
            raise SourceEnded
        if self._begin is None or self._end <= self._begin:
            raise SourceBroken("there is no media in the file")
        self._offset += Fraction(self._end - self._begin, self._lead.timescale)
        # Opened anew: seeking to the beginning loses the first keyframe of some containers.
        self.close()
        self.open(lambda text: None)

    @property
    def _lead(self) -> Track:
        return self.tracks[0]

    def _take(self, packet: av.Packet[Any] | None) -> None:
        feeds = self._feeds.values()
        if packet is None:
            self._at_end = True
            samples = [sample for feed in feeds for sample in feed.flush()]
        elif packet.is_discard and not self._feeds[packet.stream_index].is_video:
            # What an encoder put before the beginning (ISO/IEC 14496-12, edit lists): never to be heard.
            return
        else:
            feed = self._feeds[packet.stream_index]
            feed.mend(packet)
            samples = feed.push(packet)
        if self._is_other():
            # Other headers: what was read before belongs to those there were.
            self._following = samples
        else:
            self._keep(samples)

    def _is_other(self) -> bool:
        """Whether a header changed; where all are the same objects, none did."""
        tracks = [feed.track for feed in self._feeds.values()]
        same = all(track is described for track, described in zip(tracks, self._described, strict=True))
        return not same and headers(tracks) != headers(self.tracks)

    def _keep(self, samples: Sequence[Sample]) -> None:
        for sample in samples:
            self._order.push(sample)
            if sample.track == self._lead.track:
                self._begin = sample.dts if self._begin is None else self._begin
                self._end = sample.dts + sample.duration

    def _next_packet(self) -> av.Packet[Any] | None:
        try:
            packet = next(self._packets, None)
            while packet is not None and is_hollow(packet):
                packet = next(self._packets, None)
        except (av.error.FFmpegError, OSError) as error:
            raise SourceBroken(explain(error, self._uri)) from None
        return packet if packet is not None and packet.size else None

    def _due(self) -> float:
        return self._order.first_seconds + self._offset_seconds

    def _on_time(self, sample: Sample) -> Sample:
        timescale, shift = self._places[sample.track]
        return at(sample, shift, self._pacer.due_us((sample.dts + shift) / timescale))


def headers(tracks: Sequence[Track]) -> list[bytes]:
    """Return what must not change within an epoch."""
    return [track.header for track in tracks]
