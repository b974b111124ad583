"""The sender that stands on an HTTP connection's transport, with a transport that is a plain object."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace_edge.frames import CloseCode, close_frame
from headrace_edge.sender import HIGH_WATER_BYTES, LOW_WATER_BYTES, TransportSender


class Protocol(asyncio.Protocol):
    """What an HTTP server has on its transport; it notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[object] = []

    def data_received(self, data: bytes) -> None:
        self.heard.append(data)

    def eof_received(self) -> bool | None:
        self.heard.append("eof")
        return True

    def pause_writing(self) -> None:
        self.heard.append("pause")

    def resume_writing(self) -> None:
        self.heard.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard.append("lost")


class Transport(asyncio.Transport):
    """Notes what is written and done."""

    def __init__(self, protocol: asyncio.BaseProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.written: list[bytes] = []
        self.done: list[str] = []
        self.limits: tuple[int | None, int | None] = (None, None)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self.limits = (high, low)

    def get_write_buffer_size(self) -> int:
        return 7

    def write(self, data: Any) -> None:
        self.written.append(data)

    def close(self) -> None:
        self.done.append("close")

    def abort(self) -> None:
        self.done.append("abort")


class Listener:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def paused(self) -> None:
        self.told.append("paused")

    def resumed(self) -> None:
        self.told.append("resumed")

    def lost(self) -> None:
        self.told.append("lost")


@pytest.fixture
def transport() -> Transport:
    return Transport(Protocol())


def protocol_of(transport: Transport) -> asyncio.Protocol:
    assert isinstance(transport.protocol, asyncio.Protocol)
    return transport.protocol


def test_the_server_hears_everything_still(transport: Transport) -> None:
    """The connection's own protocol is told all that it was told before, with the same answers."""
    inner = protocol_of(transport)
    TransportSender(transport)
    outer = protocol_of(transport)
    assert outer is not inner
    outer.data_received(b"x")
    assert outer.eof_received() is True
    outer.pause_writing()
    outer.resume_writing()
    outer.connection_lost(None)
    assert isinstance(inner, Protocol)
    assert inner.heard == [b"x", "eof", "pause", "resume", "lost"]


def test_flow_is_told_to_the_listener(transport: Transport) -> None:
    """The listener hears when to wait and when to go on, and once that the connection is gone."""
    sender = TransportSender(transport)
    sender.listener = listener = Listener()
    outer = protocol_of(transport)
    outer.pause_writing()
    assert sender.is_paused
    outer.resume_writing()
    assert not sender.is_paused
    outer.connection_lost(None)
    assert listener.told == ["paused", "resumed", "lost"]
    assert transport.limits == (HIGH_WATER_BYTES, LOW_WATER_BYTES)
    assert sender.unsent() == 7


def test_nothing_is_written_after_the_connection_is_lost(transport: Transport) -> None:
    """A transport that is gone complains about writes: there are none."""
    sender = TransportSender(transport)
    sender.write(b"one")
    protocol_of(transport).connection_lost(None)
    sender.write(b"two")
    assert transport.written == [b"one"]


async def test_finishing(transport: Transport) -> None:
    """A close frame is the last thing written, once; the connection is cut when no answer comes."""
    sender = TransportSender(transport)
    sender.finish(CloseCode.GOING_AWAY, "bye")
    sender.finish(CloseCode.DONE)
    sender.write(b"more")
    assert transport.written == [close_frame(CloseCode.GOING_AWAY, "bye")]
    assert transport.done == []
    sender.close()
    assert transport.done == ["close"]


def test_aborting(transport: Transport) -> None:
    """The connection is cut at once."""
    sender = TransportSender(transport)
    sender.abort()
    sender.write(b"more")
    assert (transport.done, transport.written) == (["abort"], [])
