"""The RTSP door: connections around `headrace_ingress.rtsp`, one publisher each.

A publisher's description and its packets go into the pipe as RTSP has them between its messages; the reader's libav
takes them apart (`headrace_ingress.rtsp_replay`).
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
from typing import Final

from headrace.identifiers import InvalidName, StreamName
from headrace_ingress.admission import PublishRefused
from headrace_ingress.datagrams import NoPorts, TrackPorts
from headrace_ingress.rtsp.authorization import Credentials, Digest, Password, proves
from headrace_ingress.rtsp.protocol import (
    AnnounceAsked,
    Ended,
    Packet,
    PortsAsked,
    RecordAsked,
    RtspConnection,
    RtspEvent,
    State,
)
from headrace_ingress.rtsp_replay import FORMAT, write_description
from headrace_ingress.target import Target, parse_target
from headrace_ingress.tcp_door import TcpDoor, TcpPublisher

CHALLENGES_MAX: Final = 3
"""Most times that one connection is asked for its key: some ask again and again without one."""

REFUSALS: Final = {
    "key": 401,
    "guessing": 403,
    "limit": 503,
    "node": 403,
    "name": 404,
    "busy": 403,
    "sourced": 403,
}
"""How each way to be refused is answered; the sentence stands for the usual words."""

_NO_PROOF: Final = "\0"
"""What is tried as a key where a proof is wrong: no key is like that."""

_URL = re.compile(r"rtsps?://[^/?#]*/live/([^#]*)", re.IGNORECASE)


class RtspDoor(TcpDoor):
    """Listens for publishers by RTSP. With TLS, media do not travel by UDP."""

    name = "rtsp"

    def make_publisher(self, loop: asyncio.AbstractEventLoop) -> RtspPublisher:
        """Return what takes a new connection."""
        return RtspPublisher(self, loop)

    def needs_key(self, stream: StreamName) -> bool:
        """Return whether a publisher has to show one."""
        return not self.publications.options.keys.opens(stream, "", is_local=self._is_loopback)

    def given_key(self, stream: StreamName, credentials: Digest | Password, nonce: str) -> str:
        """Return the key that credentials show; of a proof the stream's own, if it is right."""
        if isinstance(credentials, Password):
            return credentials.key
        key = self.publications.options.keys.of(stream)
        return key if key is not None and proves(credentials, key, "ANNOUNCE", nonce) else _NO_PROOF


class RtspPublisher(TcpPublisher):
    """One connection."""

    def __init__(self, door: RtspDoor, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(door, loop)
        self._rtsp_door = door
        self._description = b""
        session, nonce = secrets.token_hex(8), secrets.token_hex(16)
        self._rtsp = RtspConnection(session, nonce, may_use_udp=door.tls is None)
        self._is_full = False
        self._ports: list[TrackPorts] = []
        self._challenges = 0

    def receive(self, data: bytes) -> None:
        """See `TcpPublisher`."""
        while not self._is_ending and (events := self._rtsp.receive(data)):
            data = b""
            self.write(b"".join(event.framed for event in events if isinstance(event, Packet)))
            for event in events:
                self._take(event)

    def data_to_send(self) -> bytes:
        """See `TcpPublisher`."""
        return self._rtsp.data_to_send()

    def begin_again(self) -> None:
        """See `TcpPublisher`."""
        self.begin_file(FORMAT)
        self.write(write_description(self._description))

    def say_over(self, why: str) -> None:
        """RTSP has no words for it: the connection ends."""

    def leave(self) -> None:
        """See `TcpPublisher`."""
        for ports in self._ports:
            ports.close()
        self._ports.clear()
        super().leave()

    def pause(self) -> None:
        """See `TcpPublisher`."""
        self._is_full = True
        super().pause()

    def resume(self) -> None:
        """See `TcpPublisher`."""
        self._is_full = False
        super().resume()

    def _take(self, event: RtspEvent) -> None:
        match event:
            case AnnounceAsked():
                self._announce(event)
            case PortsAsked():
                self._open_ports(event)
            case RecordAsked():
                self._record(event)
            case Ended():
                self.leave_and_wait()

    def _announce(self, asked: AnnounceAsked) -> None:
        try:
            target = self._meant(asked.url)
            if (found := self._with_key(target, asked.credentials)) is None:
                self._challenge()
                return
            self._door.publications.check(found.stream, found.key, self._door.peer(self._address))
        except PublishRefused as refused:
            self._refuse(refused)
            return
        self._target = found
        self._rtsp.accept_announce()

    def _meant(self, url: str) -> Target:
        try:
            return announced_target(url)
        except InvalidName:
            refused = PublishRefused("name", "publish to rtsp://host/live/{stream}; letters, digits and _ . ~ -")
            self._door.publications.refused("", self._door.peer(self._address), refused)
            raise refused from None

    def _with_key(self, target: Target, credentials: Credentials) -> Target | None:
        """Return the stream with the key that was shown, `None` where one is needed and was not."""
        if credentials is not None and not target.key:
            return Target(target.stream, self._rtsp_door.given_key(target.stream, credentials, self._rtsp.nonce))
        return None if not target.key and self._rtsp_door.needs_key(target.stream) else target

    def _challenge(self) -> None:
        self._challenges += 1
        if self._challenges <= CHALLENGES_MAX:
            self._rtsp.challenge()
            return
        self._refuse(PublishRefused("key", "publishing this stream needs a key"))

    def _open_ports(self, asked: PortsAsked) -> None:
        take: Callable[[bytes], None] = self._write_datagrams
        if not self._rtsp.is_carried(asked.track):
            take = _drop
        host = str(self._transport.get_extra_info("sockname")[0])
        try:
            ports = TrackPorts(asked.track, host, self._address, take, self._loop)
        except NoPorts as error:
            self._rtsp.refuse(503, str(error))
            return
        self._ports.append(ports)
        self._rtsp.give_ports(ports.ports)

    def _record(self, asked: RecordAsked) -> None:
        assert self._target is not None
        try:
            self.admit(self._target)
        except PublishRefused as refused:
            self._refuse(refused)
            return
        self._description = asked.description
        self.begin_again()
        self._rtsp.accept_record()

    def _refuse(self, refused: PublishRefused) -> None:
        self._rtsp.refuse(REFUSALS[refused.code], str(refused))
        self.end(refused.code, "")

    def _write_datagrams(self, frames: bytes) -> None:
        # What there is no room for is lost, as it would be in the kernel.
        if self._rtsp.state is State.RECORDING and not self._is_full:
            self.write(frames)


def announced_target(url: str) -> Target:
    """Return the stream that a URL of an ANNOUNCE names, with the key behind it.

    Raises:
        InvalidName: when it names none.
    """
    found = _URL.fullmatch(url)
    return parse_target(found[1] if found else "")


def _drop(frames: bytes) -> None:
    """Take what is not carried."""
