"""What all live feeds have in common once libav has opened them: packets as they come become samples."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import av
import av.error

from headrace.clock import Clock
from headrace.media.samples import PackagerOptions, Sample
from headrace.wire.stream import Track
from headrace_ingress.source import Note, SourceBroken
from headrace_ingress.timing import PictureWatch
from headrace_ingress.tracks import TrackFeed, choose_streams, make_feeds
from headrace_ingress.transcode import EncodedFeed

BURST_GAP_SECONDS = 0.01
"""A packet that comes this soon after the one before was there already: part of what libav took in while probing."""

BURST_MAX_SECONDS = 0.25
"""Longest time that a burst is read: a feed with very many packets has no gap that ends one."""


class LiveContainer:
    """A container that is read as its media arrive; read and closed by one thread only.

    Attributes:
        tracks: of the samples that `read` returned last; another tuple when a header changed.

    Args:
        container: open; closed by `close`.
        options: how the feed is cut.
        stall_seconds: how long sound may come without a picture.
        clock: tells arrival times.
        stopping: looked at between packets.
        note: told what is carried otherwise than asked.
        parser_delay: whether libav lets go of a picture when the next one begins; that is taken off capture times.
        paced: whether whoever reads waits between packets until they are due, so that all are there too early.

    Raises:
        SourceBroken: when nothing in it can be carried.
    """

    def __init__(
        self,
        container: av.container.InputContainer,
        options: PackagerOptions,
        stall_seconds: float,
        clock: Clock,
        stopping: threading.Event,
        note: Note,
        *,
        parser_delay: bool,
        paced: bool = False,
    ) -> None:
        self._container: av.container.InputContainer | None = container
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._stopping = stopping
        streams = choose_streams(container, note)
        self._feeds: dict[int, TrackFeed | EncodedFeed] = make_feeds(streams, options, note, parser_delay=parser_delay)
        self.tracks: tuple[Track, ...] = tuple(feed.track for feed in self._feeds.values())
        self._packets: Iterator[av.Packet[Any]] = container.demux(streams)
        self._burst = not paced
        self._watch: PictureWatch | None = None
        if any(feed.is_video for feed in self._feeds.values()):
            self._watch = PictureWatch(stall_seconds, clock.monotonic())

    def read(self) -> Sequence[Sample]:
        """Return the samples of the next packet, blocking until it came.

        Raises:
            SourceBroken: when sound goes on without a picture.
            TimeoutError: when nothing came for too long.
            EOFError: when it is over.
            OSError: libav's errors, and what the file raises that it reads.
        """
        packets = self._take_burst() if self._burst else [self._next()]
        samples: list[Sample] = []
        for packet in packets:
            samples += self._feeds[packet.stream_index].push(packet)
        tracks = tuple(feed.track for feed in self._feeds.values())
        if any(new is not old for new, old in zip(tracks, self.tracks, strict=True)):
            self.tracks = tracks
        return samples

    def flush(self) -> Sequence[Sample]:
        """Return what is still held, after the end."""
        return [sample for feed in self._feeds.values() for sample in feed.flush()]

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        self._packets = iter(())
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _take_burst(self) -> list[av.Packet[Any]]:
        """Return the packets that were there already when the feed was opened, and the first that was not.

        They all arrived earlier than they are read, so the capture time of the first is only known from the last.
        """
        self._burst = False
        packets: list[av.Packet[Any]] = []
        begun = now = self._clock.monotonic()
        waited = 0.0
        while waited < BURST_GAP_SECONDS and now - begun < BURST_MAX_SECONDS and not self._stopping.is_set():
            try:
                packets.append(self._next())
            except EOFError:
                if not packets:
                    raise
                break  # all of it was there; the end is met again by the next read
            before, now = now, self._clock.monotonic()
            waited = now - before
        return packets

    def _next(self) -> av.Packet[Any]:
        began = self._clock.monotonic()
        packet = next(self._packets, None)
        while packet is not None and is_hollow(packet) and self._clock.monotonic() - began < self._stall_seconds:
            packet = next(self._packets, None)
        if packet is None or (packet.size == 0 and not is_hollow(packet)):
            # After the last packet libav gives an empty one for each stream, which decoders take for the end.
            raise EOFError
        if self._clock.monotonic() - began >= self._stall_seconds:
            # libav's wait is over too, but it has a packet left to give: asked again it would wait as long again.
            raise TimeoutError
        feed = self._feeds[packet.stream_index]
        feed.arrived(packet, self._clock.utc())
        if self._watch is not None and self._watch.is_stalled(feed.is_video, self._clock.monotonic()):
            raise SourceBroken(f"sound but no picture for {self._stall_seconds:g} s")
        return packet


def is_hollow(packet: av.Packet[Any]) -> bool:
    """Return whether a packet came with its time, and holds nothing: there is no sample in it."""
    return packet.size == 0 and packet.dts is not None
