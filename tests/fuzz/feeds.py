"""Mutated publishers against every parser of feeds that is ours, for as long as wanted:

    make fuzz FUZZ_SECONDS=600
    python tests/fuzz/feeds.py [seconds] [seed]

Each input ends in events or values, or in an error that its parser documents; anything else is a defect. Inputs are
numbered and each is made from the seed and its number alone, so that what is found is found again at once:
`feeds.py 0 SEED NUMBER`. A second of it is a test (`tests/unit/ingress/test_feeds_fuzz.py`).
"""

from __future__ import annotations

import io
import itertools
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from fuzz.doors import DOOR_ERRORS, descriptions, rtsp, rtsp_headers, rtsp_messages, streamids
from fuzz.media import fragments, headers, records, sample_entries, sounds, units
from fuzz.mutating import mutated
from fuzz.timelines import timelines
from headrace.media.bitstream import BitstreamError
from headrace.media.boxes import BoxError
from headrace.registry.feed_uri import InvalidUri, Scheme, parse_uri, redact
from headrace.wire.errors import WireError
from headrace_ingress.fetch import Fetcher
from headrace_ingress.http_door import sniff
from headrace_ingress.rtmp.amf import decode, split_string
from headrace_ingress.rtmp.chunks import CHUNK_MAX_BYTES, WAITING_MAX_BYTES, ChunkReader
from headrace_ingress.rtmp.errors import RtmpError
from headrace_ingress.rtmp.flv import Section
from headrace_ingress.rtmp.handshake import BLOCK_BYTES, Handshake
from headrace_ingress.rtmp.protocol import Media, MediaKind, PublishAsked, RtmpConnection
from headrace_ingress.rtmp.target import targets
from headrace_ingress.source import SourceBroken
from headrace_ingress.srt import call
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
NAMED = [
    b"http://h/a/index.m3u8",
    b"https://u:p@[::1]:444/%20?x=y#z",
    b"HTTP://h:80",
    b"file:///etc/passwd",
    b"../b.ts",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n#EXTM3U\n#EXTINF:1,\na",
    b"HTTP/1.1 302 Found\r\nLocation: http://h/b\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 301 X\r\nLocation: //[::1]:8/b?c\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n",
    b"HTTP/1.0 404 N\r\n\r\n",
]
URIS = [
    "rtsp://u:p@h:554/a?b#transport=udp",
    "udp://239.1.2.3:5000",
    "file:/a%20b?loop=no",
    "test:?size=640x360&rate=25",
    "http://[::1]:80/a",
    "rtmps://h/live/cam",
    "srt://h:9000?streamid=%23!::r=a,m=request&latency=120",
    "srt://[::1]:1?mode=caller",
]


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
    uri = parse_uri(text, trusted=chance.random() < 0.5)
    if uri.scheme is Scheme.SRT:
        call(uri.address)


def names(chance: random.Random) -> None:
    """Where a publisher connected to, and the name it gave."""
    path, name = (mutated(text, chance).decode("latin-1") for text in (b"live/cam1", b"cam1?key=x&key=y"))
    assert len(targets(path, name)) <= 2


class Answer:
    """A connection on which one answer waits."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def sendall(self, data: bytes) -> None:
        """Nobody listens."""

    def settimeout(self, seconds: float) -> None:
        """It is all there."""

    def makefile(self, mode: str, buffering: int) -> io.BytesIO:
        """What is read of it."""
        return io.BytesIO(self.data)

    def close(self) -> None:
        """Nothing is open."""


class AnsweredFetcher(Fetcher):
    """A fetcher whose every connection has the same answer."""

    def __init__(self, answer: bytes) -> None:
        super().__init__((), True, 1.0, threading.Event())
        self.answer = answer

    def _connect(self, scheme: str, host: str, port: int) -> Any:
        return Answer(self.answer)


def answers(chance: random.Random) -> None:
    """What an HTTP server answers, where it leads to, and what its playlists name."""
    fetcher = AnsweredFetcher(mutated(chance.choice(ANSWERS), chance))
    url = mutated(chance.choice(NAMED), chance).decode("latin-1")
    file = fetcher.nested(url, 0, {}) if chance.random() < 0.5 else fetcher.open(url)
    try:
        assert len(file.read(64)) <= 64
    except ConnectionError as error:
        raise SourceBroken(str(error)) from None
    finally:
        file.close()
        fetcher.close()


Target = Callable[[random.Random], None]

TARGETS: dict[Target, int] = {
    life: 1,
    rtsp: 1,
    rtsp_messages: 8,
    rtsp_headers: 8,
    descriptions: 8,
    streamids: 8,
    tags: 2,
    answers: 2,
    timelines: 2,
    headers: 4,
    chunks: 8,
    handshake: 4,
    uris: 8,
    names: 8,
    records: 8,
    fragments: 8,
    sample_entries: 8,
    units: 8,
    sounds: 8,
    amf: 16,
}
"""How often each is chosen: what takes one parser a moment more often than what takes a whole connection."""

ERRORS = (RtmpError, BoxError, BitstreamError, WireError, InvalidUri, SourceBroken, *DOOR_ERRORS)
"""What an input may end in."""

REPORT_SECONDS = 60.0
"""How often the count is told meanwhile."""


class Tally:
    """What was done, and how it ended."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.inputs, self.ends = Counter[str](), Counter[str]()
        self._targets, self._weights = list(TARGETS), list(TARGETS.values())
        self._chance = random.Random()

    def run(self, number: int) -> None:
        """Make the input of a number, and see how it ends.

        Raises:
            Exception: what was found.
        """
        chance = self._chance
        chance.seed(self.seed << 64 | number)
        target = chance.choices(self._targets, self._weights)[0]
        self.inputs[target.__name__] += 1
        try:
            target(chance)
        except ERRORS as error:
            end = f"{type(error).__name__} {getattr(error, 'code', '')}".strip()
            self.ends[end] += 1
        except Exception:
            print(f"found by: feeds.py 0 {self.seed} {number} ({target.__name__})", flush=True)
            raise

    def __str__(self) -> str:
        codes = {end.removeprefix("RtmpError ") for end in self.ends if end.startswith("RtmpError")}
        assert codes <= CODES, codes
        return f"{self.inputs.total()} inputs ({dict(self.inputs)}), refused {dict(self.ends)}"


def main() -> None:
    """Run for some seconds, or one input."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    tally = Tally(seed)
    if len(sys.argv) > 3:
        tally.run(int(sys.argv[3]))
        return
    print(f"seed {seed}", flush=True)
    begun = told = time.monotonic()
    for number in itertools.count():
        tally.run(number)
        now = time.monotonic()
        if now - begun >= seconds:
            break
        if now - told >= REPORT_SECONDS:
            told = now
            print(f"{number} inputs in {now - begun:.0f} s", flush=True)
    print(f"{tally}: only documented ends")


if __name__ == "__main__":
    main()
