"""A publisher that does what no encoder of other people's making does on demand: it changes its picture on the way."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from typing import Any

import av

from headrace_ingress.rtmp.chunks import Message, write_message
from headrace_ingress.rtmp.handshake import BLOCK_BYTES
from unit.ingress.rtmp.client import C2, SIMPLE, connect, publish


def flv_tags(size: tuple[int, int], frames: int) -> Iterator[tuple[int, int, bytes]]:
    """Yield kind, time in milliseconds and payload of the tags of an FLV file with H.264 of a size."""
    file: Any = io.BytesIO()
    with av.open(file, "w", format="flv") as container:
        stream: Any = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency"}
        for number in range(frames):
            frame = av.VideoFrame(*size, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([number * 5 % 220]) * plane.buffer_size)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data, at = file.getvalue(), 13
    while at + 11 < len(data):
        length = int.from_bytes(data[at + 1 : at + 4], "big")
        stamp = int.from_bytes(data[at + 4 : at + 7], "big") | data[at + 7] << 24
        yield data[at], stamp, data[at + 11 : at + 11 + length]
        at += 15 + length


def publish_two_sizes(host: str, port: int) -> None:
    """Publish two seconds of 320x180 and two of 640x360 on one connection, at live speed."""
    with socket.create_connection((host, port), 10) as connection:
        connection.sendall(SIMPLE + C2 + connect() + publish("cam1"))
        told = b""
        while b"NetStream.Publish.Start" not in told:
            told += connection.recv(BLOCK_BYTES)
        begun = time.monotonic()
        for second, size in ((0, (320, 180)), (2, (640, 360))):
            for kind, stamp, payload in flv_tags(size, 50):
                if kind == 9:
                    due = begun + second + stamp / 1000
                    time.sleep(max(0.0, due - time.monotonic()))
                    connection.sendall(write_message(4, Message(kind, 1, second * 1000 + stamp, payload), 128))
