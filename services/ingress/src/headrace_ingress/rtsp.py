"""RTSP cameras and servers: pulled by libav, stamped with when they were captured."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import av
import av.error

from headrace.clock import Clock
from headrace.media.samples import PackagerOptions, Sample
from headrace.transport.reaching import Network
from headrace.wire.stream import Track
from headrace_ingress.addresses import pinned
from headrace_ingress.libav import OPEN_SECONDS, explain, rtsp_options
from headrace_ingress.source import Note, SourceBroken
from headrace_ingress.timing import PictureWatch
from headrace_ingress.tracks import TrackFeed, choose_streams, make_feeds
from headrace_ingress.transcode import EncodedFeed
from headrace_ingress.uri import FeedUri, Transport

BURST_GAP_SECONDS = 0.01
"""A packet that comes this soon after the one before was there already: part of what libav took in while probing."""

BURST_MAX_SECONDS = 0.25
"""Longest time that a burst is read: a feed with very many packets has no gap that ends one."""


class RtspSource:
    """Pulls a feed by RTSP.

    libav's parser lets go of a picture when the next one begins; that delay of one frame is known and taken off the
    capture time.

    Args:
        uri: where from, checked.
        transport: how media travels; one that the own configuration does not name travels by TCP, since over UDP a
            server may name any address for us to send to.
        networks: private networks that such a one may reach.
        options: how the feed is cut.
        stall_seconds: silence after which the feed is broken.
        clock: tells arrival times.
        stopping: looked at between packets.
    """

    def __init__(
        self,
        uri: FeedUri,
        transport: Transport,
        networks: Sequence[Network],
        options: PackagerOptions,
        stall_seconds: float,
        clock: Clock,
        stopping: threading.Event,
    ) -> None:
        self.tracks: tuple[Track, ...] = ()
        self._uri = uri
        self._transport: Transport = (uri.transport or transport) if uri.trusted else "tcp"
        self.keeps = self._transport == "tcp"  # what comes by UDP is lost where the socket's buffer is full
        self._networks = networks
        self._options = options
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._stopping = stopping
        self._container: av.container.InputContainer | None = None
        self._feeds: dict[int, TrackFeed | EncodedFeed] = {}
        self._packets: Iterator[av.Packet[Any]] = iter(())
        self._burst = True
        self._watch: PictureWatch | None = None

    def open(self, note: Note) -> None:
        try:
            self._container = av.open(
                pinned(self._uri, self._networks),
                timeout=(OPEN_SECONDS, self._stall_seconds),
                options=rtsp_options(self._uri, self._transport),
            )
        except (av.error.FFmpegError, OSError) as error:
            raise SourceBroken(explain(error, self._uri)) from None
        streams = choose_streams(self._container, note)
        self._feeds = make_feeds(streams, self._options, note, parser_delay=True)
        self.tracks = tuple(feed.track for feed in self._feeds.values())
        self._packets = self._container.demux(streams)
        if any(feed.is_video for feed in self._feeds.values()):
            self._watch = PictureWatch(self._stall_seconds, self._clock.monotonic())

    def read(self) -> Sequence[Sample]:
        packets = self._take_burst() if self._burst else [self._next()]
        samples: list[Sample] = []
        for packet in packets:
            samples += self._feeds[packet.stream_index].push(packet)
        tracks = tuple(feed.track for feed in self._feeds.values())
        if any(new is not old for new, old in zip(tracks, self.tracks, strict=True)):
            self.tracks = tracks
        return samples

    def close(self) -> None:
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
            packets.append(self._next())
            before, now = now, self._clock.monotonic()
            waited = now - before
        return packets

    def _next(self) -> av.Packet[Any]:
        packet = self._read_packet()
        feed = self._feeds[packet.stream_index]
        feed.arrived(packet, self._clock.utc())
        if self._watch is not None and self._watch.is_stalled(feed.is_video, self._clock.monotonic()):
            raise SourceBroken(f"sound but no picture for {self._stall_seconds:g} s")
        return packet

    def _read_packet(self) -> av.Packet[Any]:
        try:
            packet = next(self._packets, None)
        except av.error.ExitError:
            how = " over UDP" if self._transport == "udp" else ""
            raise SourceBroken(f"nothing received{how} for {self._stall_seconds:g} s") from None
        except (av.error.FFmpegError, OSError) as error:
            raise SourceBroken(explain(error, self._uri)) from None
        if packet is None or packet.size == 0:
            # After the last packet libav gives an empty one for each stream.
            raise SourceBroken("the server ended the stream")
        return packet
