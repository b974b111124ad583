"""The parts around RTSP that have sockets: a track's two ports, and the server that libav asks."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from headrace.testing import wait_until
from headrace_ingress.datagrams import TrackPorts
from headrace_ingress.pipe import PipeStalled
from headrace_ingress.rtsp_replay import RtspReplay, write_description
from unit.ingress.rtsp.client import SDP, frame, request


@contextmanager
def sender(host: str, port: int = 0) -> Iterator[socket.socket]:
    """Give a socket that sends datagrams from an address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.bind((host, port))
        yield made


async def test_a_tracks_ports() -> None:
    """An even one and the next; packets come framed on the track's channels, the peer's alone and from one port."""
    taken = bytearray()
    ports = TrackPorts(3, "127.0.0.1", "127.0.0.1", taken.extend, asyncio.get_running_loop())
    try:
        rtp, rtcp = (("127.0.0.1", port) for port in ports.ports)
        assert rtp[1] % 2 == 0
        assert rtcp[1] == rtp[1] + 1
        with sender("127.0.0.1") as own, sender("127.0.0.1") as second, sender("127.0.0.2") as stranger:
            stranger.sendto(b"stranger", rtp)
            own.sendto(b"one", rtp)
            await wait_until(lambda: bytes(taken) == frame(6, b"one"))
            second.sendto(b"second", rtp)
            own.sendto(b"", rtp)
            own.sendto(b"two", rtp)
            own.sendto(b"report", rtcp)
            expected = {frame(6, b"one") + frame(6, b"two") + frame(7, b"report")}
            expected.add(frame(6, b"one") + frame(7, b"report") + frame(6, b"two"))
            await wait_until(lambda: bytes(taken) in expected)
    finally:
        ports.close()
        ports.close()


class Script:
    """What stands in a pipe, and how it ends."""

    def __init__(self, data: bytes, end: Exception | None = None) -> None:
        self._data = data
        self._end = end
        self.ended = threading.Event()

    def read(self, most: int) -> bytes:
        """Return the next bytes; at the end none, or the error."""
        taken, self._data = self._data[:most], self._data[most:]
        if not taken:
            self.ended.set()
            if self._end is not None:
                raise self._end
        return taken


def exchange(address: str, *methods: str) -> bytes:
    """Ask the server; return all that it says until it hangs up."""
    port = int(address.rpartition("/")[0].rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), 10) as client:
        client.settimeout(10)
        for number, method in enumerate(methods):
            url = f"{address}/track1" if method == "SETUP" else address
            client.sendall(request(method, url, number, Transport="RTP/AVP/TCP;unicast;interleaved=0-1"))
        told = b""
        while data := client.recv(4096):
            told += data
        return told


def test_served_to_who_knows_its_name() -> None:
    """Whoever asks for another name is hung up on and hears nothing; the right one gets all of it, to the end."""
    packets = frame(2, b"rtp") + frame(3, b"rtcp")
    replay = RtspReplay(Script(write_description(SDP) + packets).read)
    replay.start()
    try:
        assert exchange(replay.address[:-4] + "0000", "DESCRIBE") == b""
        told = exchange(replay.address, "OPTIONS", "DESCRIBE", "SETUP", "PLAY")
        assert SDP in told
        assert b"interleaved=2-3" in told
        assert told.endswith(packets)
        assert replay.failure is None
    finally:
        replay.close()


def test_how_it_failed_is_known() -> None:
    """A silence ends the connection, and the reader can tell why."""
    replay = RtspReplay(Script(write_description(SDP), PipeStalled()).read)
    replay.start()
    try:
        exchange(replay.address, "DESCRIBE", "SETUP", "PLAY")
        assert isinstance(replay.failure, PipeStalled)
    finally:
        replay.close()


@pytest.mark.parametrize("data", [b"", b"\x00\x00", b"\xff\xff\xff\xffabc"])
def test_a_pipe_that_holds_no_description(data: bytes) -> None:
    """Nobody is served."""
    script = Script(data)
    replay = RtspReplay(script.read)
    replay.start()
    assert script.ended.wait(10)
    with pytest.raises(OSError, match=r"refused|reset"):
        while True:
            exchange(replay.address, "DESCRIBE")
    replay.close()
