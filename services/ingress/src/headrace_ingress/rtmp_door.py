"""The RTMP door: connections around `headrace_ingress.rtmp`, one publisher each."""

from __future__ import annotations

import asyncio
import os

from headrace_ingress.admission import PublishRefused
from headrace_ingress.rtmp.flv import Section
from headrace_ingress.rtmp.handshake import BLOCK_BYTES
from headrace_ingress.rtmp.protocol import Media, Metadata, PublishAsked, PublishEnded, RtmpConnection, RtmpEvent
from headrace_ingress.rtmp.target import targets
from headrace_ingress.target import Target
from headrace_ingress.tcp_door import TcpDoor, TcpPublisher


class RtmpDoor(TcpDoor):
    """Listens for publishers by RTMP."""

    name = "rtmp"

    def make_publisher(self, loop: asyncio.AbstractEventLoop) -> RtmpPublisher:
        """Return what takes a new connection."""
        return RtmpPublisher(self, loop)

    def meant(self, asked: PublishAsked) -> Target:
        """Return the target whose own key was given, else one that needs none, else one that shows no key.

        Raises:
            PublishRefused: when there is none.
        """
        found = targets(asked.app, asked.name)
        if not found:
            raise PublishRefused("name", "publish to rtmp://host/live/{stream}?key=...; letters, digits and _ . ~ -")
        keys = self.publications.options.keys
        fitting = [one for one in found if keys.opens(one.stream, one.key, is_local=self._is_loopback)]
        fitting.sort(key=lambda one: keys.of(one.stream) is None)
        return fitting[0] if fitting else found[-1]

    def chance(self) -> bytes:
        """Return randomness for a handshake."""
        return os.urandom(BLOCK_BYTES)


class RtmpPublisher(TcpPublisher):
    """One connection."""

    def __init__(self, door: RtmpDoor, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(door, loop)
        self._rtmp_door = door
        self._rtmp = RtmpConnection(door.chance())
        self._section: Section | None = None
        self._metadata: Metadata = Metadata({})

    def receive(self, data: bytes) -> None:
        """See `TcpPublisher`."""
        while not self._is_ending and (events := self._rtmp.receive(data)):
            data = b""
            for event in events:
                self._take(event)

    def data_to_send(self) -> bytes:
        """See `TcpPublisher`."""
        return self._rtmp.data_to_send()

    def say_over(self, why: str) -> None:
        """See `TcpPublisher`."""
        self._rtmp.end(why)

    def begin_again(self) -> None:
        """See `TcpPublisher`."""
        if self._section is not None:
            self._begin(self._section.continued())

    def leave(self) -> None:
        """See `TcpPublisher`."""
        if self._section is not None and not self._section.is_open:
            self.write(self._section.open())
        self._section = None
        super().leave()

    def _take(self, event: RtmpEvent) -> None:
        match event:
            case PublishAsked():
                self._ask(event)
            case Media():
                self._carry(event)
            case Metadata():
                self._metadata = event
            case PublishEnded():
                self.leave_and_wait()

    def _ask(self, asked: PublishAsked) -> None:
        try:
            self.admit(self._rtmp_door.meant(asked))
        except PublishRefused as refused:
            self._rtmp.refuse(str(refused))
            self.end(refused.code, "")
            return
        self._metadata = Metadata({})
        self._rtmp.accept()

    def _carry(self, media: Media) -> None:
        if self._publication is None or self._is_ending:
            return
        if self._section is None:
            self._begin([])
        elif not self._section.fits(media):
            self._begin([one for one in self._section.continued() if one.kind is not media.kind])
        assert self._section is not None
        self.write(self._section.push(media))

    def _begin(self, configurations: list[Media]) -> None:
        """Begin a file, with the configurations of what did not change."""
        self.begin_file("flv")
        self._section = Section(self._metadata.values)
        for one in configurations:
            self.write(self._section.push(one))
