"""Feeds that are pulled: from cameras and servers by RTSP, RTMP, HTTP and SRT, and MPEG-TS that arrives by UDP.

What libav connects to itself (RTMP, UDP, and RTSP of the own configuration) is one address that was checked, by the
protocols that its scheme needs. Where it would go on by itself it is not let: what it would follow by HTTP, redirects
and playlists, it is given as open files (`headrace_ingress.fetch`), and between it and an RTSP server that the own
configuration does not name stands a guard (`headrace_ingress.rtsp_guard`). What a server holds ready (a playlist, a
file) is let pass at the speed of its media; all else is taken as it comes.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import av
import av.error

from headrace.clock import Clock
from headrace.media.samples import PackagerOptions, Sample
from headrace.registry.feed_uri import FeedUri, Scheme, Transport
from headrace.transport.reaching import Network
from headrace.wire.stream import Track
from headrace_ingress.addresses import pinned
from headrace_ingress.fetch import Fetcher
from headrace_ingress.libav import (
    OPEN_SECONDS,
    PROBE_MICROSECONDS,
    explain,
    http_options,
    looking_longer,
    rtmp_options,
    rtsp_options,
    udp_options,
)
from headrace_ingress.live import LiveContainer
from headrace_ingress.pacing import Pacer
from headrace_ingress.rtsp_guard import RtspGuard
from headrace_ingress.source import LATE, Note, SourceBroken
from headrace_ingress.srt import SrtFile

PLAYLIST_STALL_SECONDS: Final = 30.0
"""Least silence after which a playlist counts as stalled: its segments come at once and last ten seconds and more."""

PROBES_SECONDS: Final = (PROBE_MICROSECONDS / 1_000_000, 3.0, 15.0)
"""How long libav looks at a feed to know its tracks: longer, from the beginning, where it came in the middle of a GOP
and the parameter sets that come with its keyframes were not among what it saw."""

DELAYED_FORMATS: Final = frozenset({"rtsp", "mpegts", "hls"})
"""Formats whose pictures libav lets go of when the next one begins."""


class PulledSource:
    """Pulls a feed.

    Args:
        uri: where from, checked.
        transport: how RTSP media travels; one that the own configuration does not name travels by TCP, since over UDP a
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
        # What comes by UDP is lost where the socket's buffer is full.
        self.keeps = uri.scheme is not Scheme.UDP and self._transport == "tcp"
        self._networks = networks
        self._options = options
        self._stall_seconds = stall_seconds
        self._clock = clock
        self._stopping = stopping
        self._probe_seconds = PROBES_SECONDS[0]
        self._live: LiveContainer | None = None
        self._pacer: Pacer | None = None
        self._fetcher: Fetcher | None = None
        self._has_end = False
        self._caller: SrtFile | None = None
        self._guard: RtspGuard | None = None

    def open(self, note: Note) -> None:
        for seconds in PROBES_SECONDS:
            self._probe_seconds = seconds
            try:
                self._open_once(note)
                return
            except SourceBroken as broken:
                if broken.code != LATE or seconds == PROBES_SECONDS[-1] or self._stopping.is_set():
                    raise
                self.close()

    def _open_once(self, note: Note) -> None:
        try:
            container = self._open_container()
        except (av.error.FFmpegError, OSError) as error:
            self._check_refused()
            raise SourceBroken(explain(error, self._uri)) from None
        self._check_refused()
        if self._fetcher is not None:
            self._fetcher.begun()
        name = container.format.name
        # A playlist's segments, and a file with an end, come as fast as the network has them.
        if name == "hls" or self._has_end:
            self._pacer = Pacer(self._clock, self._stopping)
            self.keeps = False  # it lets time pass by itself
        try:
            self._live = LiveContainer(
                container,
                self._options,
                max(self._stall_seconds, PLAYLIST_STALL_SECONDS) if self._pacer else self._stall_seconds,
                self._clock,
                self._stopping,
                note,
                parser_delay=name in DELAYED_FORMATS,
                paced=self._pacer is not None,
            )
        except SourceBroken:
            container.close()
            raise
        self.tracks = self._live.tracks

    def read(self) -> Sequence[Sample]:
        assert self._live is not None
        self._check_refused()
        try:
            samples = self._live.read()
        except EOFError:
            raise SourceBroken("the server ended the stream") from None
        except (av.error.ExitError, TimeoutError):
            how = " over UDP" if self._transport == "udp" or self._uri.scheme is Scheme.UDP else ""
            raise SourceBroken(f"nothing received{how} for {self._stall_seconds:g} s") from None
        except (av.error.FFmpegError, OSError) as error:
            raise SourceBroken(explain(error, self._uri)) from None
        if self._live.tracks is not self.tracks:
            self.tracks = self._live.tracks
        if self._pacer is not None and samples:
            timescale = next(track.timescale for track in self.tracks if track.track == samples[0].track)
            self._pacer.wait(samples[0].dts / timescale)
        return samples

    def close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.close()
        if self._caller is not None:
            self._caller.close()
        if self._fetcher is not None:
            # libav does not close what it was given open, nor all that it asked for once something failed.
            self._fetcher.close()
        if self._guard is not None:
            self._guard.close()

    def _check_refused(self) -> None:
        if self._fetcher is not None and self._fetcher.refused is not None:
            raise self._fetcher.refused
        if self._guard is not None and self._guard.led_away:
            raise SourceBroken("the server leads to another address, which is not followed")

    def _open_container(self) -> Any:
        probe = self._probe_seconds
        seconds = (OPEN_SECONDS + probe, self._stall_seconds)
        match self._uri.scheme:
            case Scheme.RTSP | Scheme.RTSPS:
                uri = replace(self._uri, address=pinned(self._uri, self._networks))
                if not uri.trusted:
                    self._guard = RtspGuard(uri.address, urlsplit(self._uri.address).hostname or "")
                    uri = replace(uri, address=self._guard.place)
                return av.open(
                    uri.address, timeout=seconds, options=looking_longer(rtsp_options(uri, self._transport), probe)
                )
            case Scheme.RTMP | Scheme.RTMPS:
                options = looking_longer(rtmp_options(self._uri), probe)
                return av.open(pinned(self._uri, self._networks), format="flv", timeout=seconds, options=options)
            case Scheme.UDP:
                place = udp_place(pinned(self._uri, self._networks))
                return av.open(place, format="mpegts", timeout=seconds, options=looking_longer(udp_options(), probe))
            case Scheme.HTTP | Scheme.HTTPS:
                self._fetcher = fetcher = Fetcher(
                    self._networks, self._uri.trusted, self._stall_seconds, self._stopping
                )
                file = fetcher.open(self._uri.address)
                self._has_end = file.has_end
                long = (OPEN_SECONDS * 2 + probe, max(self._stall_seconds, PLAYLIST_STALL_SECONDS))
                options = looking_longer(http_options(), probe)
                return av.open(file, "r", io_open=fetcher.nested, timeout=long, options=options)
            case Scheme.SRT:
                called = pinned(self._uri, self._networks)
                self._caller = SrtFile(called, max(OPEN_SECONDS, self._stall_seconds), self._stopping)
                return av.open(self._caller, "r", format="mpegts", options=looking_longer(udp_options(), probe))
        raise AssertionError(f"{self._uri.scheme} is not pulled")


UDP_QUERY: Final = "overrun_nonfatal=1&fifo_size=28000&buffer_size=4194304&reuse=1"
"""libav's options for a UDP socket: what does not fit is lost and no error; five megabytes (28,000 packets) in its own
memory and four in the kernel's; other programs may listen to the same group."""


def udp_place(address: str) -> str:
    """Return libav's address of a UDP socket that listens at `udp://address:port` and nowhere else."""
    host = urlsplit(address).hostname or ""
    try:
        is_group = ip_address(host).is_multicast
    except ValueError:
        raise SourceBroken("a source by UDP needs an address of this machine, or a group's, and no name") from None
    return f"{address}?{UDP_QUERY}" + ("" if is_group else f"&localaddr={host}")
