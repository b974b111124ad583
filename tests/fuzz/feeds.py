"""Mutated publishers against every parser of feeds that is ours, for as long as wanted:

    PYTHONPATH=tests python tests/fuzz/feeds.py [seconds] [seed]

Each input ends in events or values, or in the one error that its parser documents; anything else is a defect, and the
seed that is printed first finds it again. `tests/unit/ingress/rtmp` has the short form that every test run takes.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from headrace.registry.feed_uri import InvalidUri, parse_uri, redact
from headrace_ingress.http_door import sniff
from headrace_ingress.rtmp.amf import decode, split_string
from headrace_ingress.rtmp.chunks import CHUNK_MAX_BYTES, WAITING_MAX_BYTES, ChunkReader
from headrace_ingress.rtmp.errors import RtmpError
from headrace_ingress.rtmp.flv import Section
from headrace_ingress.rtmp.handshake import BLOCK_BYTES, Handshake
from headrace_ingress.rtmp.protocol import Media, MediaKind, PublishAsked, RtmpConnection
from headrace_ingress.rtmp.target import targets
from unit.ingress.rtmp.client import (
    AAC_CONFIG,
    AAC_FRAME,
    AVC_CONFIG,
    AVC_KEYFRAME,
    C2,
    SIMPLE,
    audio,
    command,
    connect,
    digested,
    publish,
    video,
)

CODES = {"handshake", "chunk", "too_large", "amf", "command"}
FIRSTS = [SIMPLE, digested(8), digested(772)]
MESSAGES = [
    connect(),
    publish("cam1?key=x"),
    video(AVC_CONFIG),
    video(AVC_KEYFRAME * 40, 40),
    audio(AAC_CONFIG),
    audio(AAC_FRAME),
    command("deleteStream", 7.0, None, 1.0),
    command("@setDataFrame", "onMetaData", {"framerate": 25.0}),
]
PAYLOADS = [AVC_CONFIG, AVC_KEYFRAME, AAC_CONFIG, AAC_FRAME, b"\x90hvc1\x00", b"\x90Opus", b"\x96\x00avc1"]
URIS = [
    "rtsp://u:p@h:554/a?b#transport=udp",
    "udp://239.1.2.3:5000",
    "file:/a%20b?loop=no",
    "test:?size=640x360&rate=25",
    "http://[::1]:80/a",
    "rtmps://h/live/cam",
]


def mutated(data: bytes, chance: random.Random) -> bytes:
    """Return `data` with a few bytes changed, dropped, put in, or cut off."""
    out = bytearray(data)
    for _ in range(chance.randint(0, 4)):
        place = chance.randrange(len(out) + 1)
        match chance.randrange(5):
            case 0 if place < len(out):
                out[place] = chance.randrange(256)
            case 1:
                del out[place : place + chance.randrange(1, 9)]
            case 2:
                out[place:place] = chance.randbytes(chance.randrange(1, 9))
            case 3 if place < len(out):
                out[place] = chance.choice((0x00, 0x01, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF))
            case _:
                out = out[:place]
    return bytes(out)


def life(chance: random.Random) -> None:
    """One publisher's connection, from its handshake to its end, its media into files."""
    connection, section = RtmpConnection(bytes(BLOCK_BYTES)), Section({})
    first = chance.choice(FIRSTS)
    data = (mutated(first, chance) if chance.random() < 0.05 else first) + C2
    data += b"".join(mutated(chance.choice(MESSAGES), chance) for _ in range(chance.randrange(12)))
    if chance.random() < 0.7:
        data = SIMPLE + C2 + MESSAGES[0] + MESSAGES[1] + data[len(first) + len(C2) :]
    while data:
        size = chance.choice((1, 7, 128, 4096, len(data)))
        piece, data = data[:size], data[size:]
        while events := connection.receive(piece):
            piece = b""
            for event in events:
                if isinstance(event, PublishAsked):
                    targets(event.app, event.name)
                    chance.choice((connection.accept, lambda: connection.refuse("no")))()
                elif isinstance(event, Media):
                    section = section if section.fits(event) else Section({})
                    section.push(event)
        connection.data_to_send()


def chunks(chance: random.Random) -> None:
    """Chunks of any form and size."""
    reader = ChunkReader()
    reader.chunk_bytes = chance.choice((1, 128, 4096, CHUNK_MAX_BYTES))
    buffer = bytearray(mutated(b"".join(chance.choice(MESSAGES) for _ in range(3)), chance))
    while reader.next(buffer) is not None:
        assert len(buffer) < WAITING_MAX_BYTES


def amf(chance: random.Random) -> None:
    """Commands' values."""
    data = mutated(chance.choice(MESSAGES)[12:], chance)
    decode(data)
    split_string(data)


def handshake(chance: random.Random) -> None:
    """C0 and C1 of any kind."""
    Handshake(bytes(BLOCK_BYTES)).receive(bytearray(mutated(FIRSTS[1], chance) + C2))


def tags(chance: random.Random) -> None:
    """Media of any kind, in any order, at any time."""
    section = Section({"audiocodecid": 10.0} if chance.random() < 0.5 else {})
    for _ in range(chance.randrange(1, 20)):
        payload = mutated(chance.choice(PAYLOADS), chance) or b"\x00"
        media = Media(chance.choice(list(MediaKind)), chance.randrange(1 << 32), payload)
        if not section.fits(media):
            section.continued()
            section = Section({})
        section.push(media)
        sniff(payload)


def uris(chance: random.Random) -> None:
    """What a source may be written as."""
    text = mutated(chance.choice(URIS).encode(), chance).decode("latin-1")
    redact(text)
    try:
        parse_uri(text, trusted=chance.random() < 0.5)
    except InvalidUri as error:
        raise RtmpError("command", str(error)) from None


TARGETS: list[Callable[[random.Random], None]] = [life, chunks, amf, handshake, tags, uris]


def main() -> None:
    """Run for some seconds."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    inputs, ends = Counter[str](), Counter[str]()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        target = chance.choice(TARGETS)
        inputs[target.__name__] += 1
        try:
            target(chance)
        except RtmpError as error:
            ends[error.code] += 1
    assert set(ends) <= CODES, ends
    print(f"{inputs.total()} inputs ({dict(inputs)}), refused {dict(ends)}: only documented ends")


if __name__ == "__main__":
    main()
