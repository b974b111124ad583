"""The sender that stands on a transport, with a transport that is a plain object."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headrace_edge.frames import CloseCode, close_frame
from headrace_edge.transport_sender import HIGH_WATER_BYTES, LOW_WATER_BYTES, TransportSender


class Transport(asyncio.Transport):
    """Notes what is written and done."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.BaseProtocol | None = None
        self.written: list[bytes] = []
        self.done: list[str] = []
        self.limits: tuple[int | None, int | None] = (None, None)

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

    def heard(self, data: bytes) -> None:
        self.told.append(data.decode())

    def gone(self) -> None:
        self.told.append("gone")


@pytest.fixture
def transport() -> Transport:
    return Transport()


def protocol_of(transport: Transport) -> asyncio.Protocol:
    assert isinstance(transport.protocol, asyncio.Protocol)
    return transport.protocol


def test_flow_is_told_to_the_listener(transport: Transport) -> None:
    """The listener hears when to wait and when to go on, and once that the connection is gone."""
    sender = TransportSender(transport)
    sender.listener = sender.hearer = listener = Listener()
    outer = protocol_of(transport)
    outer.data_received(b"hello")
    outer.pause_writing()
    assert sender.is_paused
    outer.resume_writing()
    assert not sender.is_paused
    outer.connection_lost(None)
    assert listener.told == ["hello", "paused", "resumed", "lost", "gone"]
    assert transport.limits == (HIGH_WATER_BYTES, LOW_WATER_BYTES)
    assert sender.unsent() == 7


def test_nothing_is_written_after_the_connection_is_lost(transport: Transport) -> None:
    """A transport that is gone complains about writes: there are none."""
    sender = TransportSender(transport)
    sender.write(b"one")
    assert sender.send(b"two") == 3
    sender.keep(b"three", 2)
    protocol_of(transport).connection_lost(None)
    sender.write(b"four")
    assert transport.written == [b"one", b"two", b"ree"]


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
