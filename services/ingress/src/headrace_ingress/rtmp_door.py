"""The RTMP door: connections around `headrace_ingress.rtmp`, one publisher each."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from typing import Any

import structlog

from headrace.identifiers import StreamName
from headrace_ingress.admission import PublishRefused
from headrace_ingress.metrics import IngressMetrics
from headrace_ingress.pipe import BytePipe
from headrace_ingress.publications import Publications, on_loop
from headrace_ingress.published import Publication
from headrace_ingress.rtmp.errors import RtmpError
from headrace_ingress.rtmp.flv import Section
from headrace_ingress.rtmp.handshake import BLOCK_BYTES
from headrace_ingress.rtmp.protocol import Media, Metadata, PublishAsked, PublishEnded, RtmpConnection
from headrace_ingress.rtmp.target import targets
from headrace_ingress.target import Target
from headrace_ingress.tcp_door import CLOSE_SECONDS, PUBLISH_SECONDS, RECEIVE_BYTES, TcpDoor

log = structlog.get_logger(__name__)


class RtmpDoor(TcpDoor):
    """Listens for publishers by RTMP.

    Args:
        host, port: where; port 0 takes any free one, `bound_port` says which.
        publications: lets publishers in.
        metrics: of this process.
        publish_seconds: how long a connection may take until it publishes.
        tls: makes it a door of rtmps.
    """

    def __init__(
        self,
        host: str,
        port: int,
        publications: Publications,
        metrics: IngressMetrics,
        publish_seconds: float = PUBLISH_SECONDS,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__("rtmp", host, port, publications, metrics, publish_seconds, tls)

    def make_publisher(self, loop: asyncio.AbstractEventLoop) -> RtmpPublisher:
        """Return what takes a new connection."""
        return RtmpPublisher(self, loop)

    def let_in(
        self, asked: PublishAsked, address: str, on_over: Callable[[str], None]
    ) -> tuple[StreamName, Publication]:
        """Let a publisher in.

        Raises:
            PublishRefused: when it may not.
        """
        target = self._meant(targets(asked.app, asked.name))
        return target.stream, self.publications.admit(target.stream, target.key, self.peer(address), on_over)

    def _meant(self, found: list[Target]) -> Target:
        """Return the target whose own key was given, else one that needs none, else one that shows no key.

        Raises:
            PublishRefused: when there is none.
        """
        if not found:
            raise PublishRefused("name", "publish to rtmp://host/live/{stream}?key=...; letters, digits and _ . ~ -")
        keys = self.publications.options.keys
        fitting = [one for one in found if keys.opens(one.stream, one.key, is_local=self._is_loopback)]
        fitting.sort(key=lambda one: keys.of(one.stream) is None)
        return fitting[0] if fitting else found[-1]

    def chance(self) -> bytes:
        """Return randomness for a handshake."""
        return os.urandom(BLOCK_BYTES)


class RtmpPublisher(asyncio.Protocol):
    """One connection."""

    def __init__(self, door: RtmpDoor, loop: asyncio.AbstractEventLoop) -> None:
        self._door = door
        self._loop = loop
        self._rtmp = RtmpConnection(door.chance())
        self._transport: Any = None
        self._address = ""
        self._name: StreamName | None = None
        self._publication: Publication | None = None
        self._section: Section | None = None
        self._file: BytePipe | None = None
        self._metadata: Metadata = Metadata({})
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False

    # -- asyncio --------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        name = transport.get_extra_info("peername")
        self._address = str(name[0]) if name else ""
        self._door.opened(self)
        self._await_publish()

    def data_received(self, data: bytes) -> None:
        try:
            while not self._is_ending and (events := self._rtmp.receive(data)):
                data = b""
                for event in events:
                    self._take(event)
        except RtmpError as error:
            log.info("publisher_broke_rules", door="rtmp", peer=self._address, stream=self._name, reason=str(error))
            self.end(error.code, "")
            return
        self._send()

    def eof_received(self) -> None:
        """The peer sends no more: nothing is left to do for it."""

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        self._leave()
        self._door.closed(self)

    # -- what happens ---------------------------------------------------------------------------------------------

    def _take(self, event: PublishAsked | Media | Metadata | PublishEnded) -> None:
        match event:
            case PublishAsked():
                self._ask(event)
            case Media():
                self._write(event)
            case Metadata():
                self._metadata = event
            case PublishEnded():
                self._leave()
                self._door.is_waiting(self, True)
                self._await_publish()

    def _ask(self, asked: PublishAsked) -> None:
        try:
            self._name, self._publication = self._door.let_in(asked, self._address, self._over)
        except PublishRefused as refused:
            self._rtmp.refuse(str(refused))
            self.end(refused.code, "")
            return
        self._stop_timer()
        self._door.is_waiting(self, False)
        self._metadata = Metadata({})
        self._rtmp.accept()

    def _write(self, media: Media) -> None:
        if self._publication is None or self._is_ending:
            return
        if self._section is None:
            self._begin(media, [])
        elif not self._section.fits(media):
            self._begin(media, self._section.continued())
        assert self._section is not None
        assert self._file is not None
        if not self._file.write(self._section.push(media)):
            self._transport.pause_reading()

    def _begin(self, media: Media, configurations: list[Media]) -> None:
        """Begin a file, with the configurations of what did not change."""
        if self._file is not None:
            self._file.end()
        assert self._publication is not None
        resume = on_loop(self._loop, lambda _: self._resume())
        self._file = BytePipe("flv", lambda: resume(""))
        self._section = Section(self._metadata.values)
        self._publication.add(self._file)
        for one in configurations:
            if one.kind is not media.kind:
                self._file.write(self._section.push(one))

    def _resume(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _over(self, why: str) -> None:
        """Nothing more is taken of what is published."""
        self._rtmp.end(why)
        self.end("over", why)

    def _leave(self) -> None:
        if self._section is not None and self._file is not None and not self._section.is_open:
            self._file.write(self._section.open())
        if self._file is not None:
            self._file.end()
        publication, self._publication = self._publication, None
        self._section = self._file = None
        if publication is not None and self._name is not None:
            self._door.publications.leave(self._name, publication)

    # -- ends -----------------------------------------------------------------------------------------------------

    def _await_publish(self) -> None:
        self._stop_timer()
        self._timer = self._loop.call_later(
            self._door.publish_seconds, self.end, "slow", "nothing was published in time"
        )

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end(self, code: str, why: str) -> None:
        """Say the last words, and close."""
        if self._is_ending:
            return
        self._is_ending = True
        self._door.count_end(code)
        if why:
            log.info("publisher_sent_away", door="rtmp", peer=self._address, stream=self._name, reason=why)
        self._send()
        self._leave()
        self._door.is_waiting(self, False)
        self._stop_timer()
        self._transport.close()
        # A peer that reads nothing would keep it open for ever.
        self._timer = self._loop.call_later(CLOSE_SECONDS, self.abort)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def _send(self) -> None:
        if (data := self._rtmp.data_to_send()) and not self._transport.is_closing():
            if self._transport.get_write_buffer_size() > RECEIVE_BYTES:
                self.abort()  # it asks and asks and reads no answer
                return
            self._transport.write(data)
