"""The publisher's side of RTMP as bytes, for tests that need to be exact."""

from __future__ import annotations

from headrace_ingress.rtmp.amf import Value, encode
from headrace_ingress.rtmp.chunks import Message, write_message
from headrace_ingress.rtmp.handshake import BLOCK_BYTES, digest_of, digest_place

SIMPLE = b"\x03" + bytes(8) + b"\x5a" * (BLOCK_BYTES - 8)
"""C0 and C1 without a digest, as GStreamer and OBS without its Flash variant send them."""

C2 = bytes(BLOCK_BYTES)
PLAYER_KEY = b"Genuine Adobe Flash Player 001"

AVC_CONFIG = bytes.fromhex("17 00 000000 0142c01e ffe1 0004 6742c01e 01 0002 68ce")
AVC_KEYFRAME = bytes.fromhex("17 01 000000 00000002 6588")
AAC_CONFIG = bytes.fromhex("af 00 1190")
AAC_FRAME = bytes.fromhex("af 01 2100")


def digested(scheme: int) -> bytes:
    """Return C0 and C1 with a digest, as librtmp's Flash variant (OBS with an old service) and ffmpeg send them."""
    block = bytearray(bytes(4) + b"\x0a\x00\x2d\x02" + bytes((7 * n) % 256 for n in range(BLOCK_BYTES - 8)))
    place = digest_place(bytes(block), scheme)
    block[place : place + 32] = digest_of(bytes(block), place, PLAYER_KEY)
    return b"\x03" + bytes(block)


def command(name: str, *values: Value, stream: int = 0, chunk: int = 128) -> bytes:
    """Return a command as chunks."""
    return write_message(3, Message(20, stream, 0, encode(name, *values)), chunk)


def connect(app: str = "live", **more: Value) -> bytes:
    """Return `connect`."""
    return command("connect", 1.0, {"app": app, "type": "nonprivate", "tcUrl": f"rtmp://h/{app}", **more})


def publish(name: str) -> bytes:
    """Return all from `connect`'s answer to `publish`, as OBS sends it."""
    return b"".join(
        [
            command("releaseStream", 2.0, None, name),
            command("FCPublish", 3.0, None, name),
            command("createStream", 4.0, None),
            command("publish", 5.0, None, name, "live", stream=1),
        ]
    )


def video(data: bytes, timestamp: int = 0) -> bytes:
    """Return a video message."""
    return write_message(4, Message(9, 1, timestamp, data), 128)


def audio(data: bytes, timestamp: int = 0) -> bytes:
    """Return an audio message."""
    return write_message(5, Message(8, 1, timestamp, data), 128)
