"""Streams made of nothing: headers and chunks with the right boxes around bytes that say which chunk they are."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.media.boxes import make_box
from headrace.relay.broadcast import Broadcast, RingLimits
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import RouteHop, StreamState, Track

TIMESCALE = 1000
CHUNK_TICKS = 100
CHUNKS_PER_SEGMENT = 10
BEGIN_TICKS = 1_700_000_000 * TIMESCALE

ROUTE = (RouteHop("ingress-1", "ingress"),)


def header(track: int, note: bytes = b"") -> bytes:
    """Return a header with the boxes that combining needs; `note` makes it differ."""
    mvhd = make_box("mvhd", bytes(96), struct.pack(">I", track + 1))
    tkhd = make_box("tkhd", bytes(12), struct.pack(">I", track), bytes(68))
    trex = make_box("trex", bytes(4), struct.pack(">I", track), bytes(16))
    trak = make_box("trak", tkhd, make_box("free", note))
    return make_box("ftyp", b"iso6", bytes(4)) + make_box("moov", mvhd, trak, make_box("mvex", trex))


VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=TIMESCALE, header=header(1), width=640, height=360)
AUDIO = Track(track=2, kind="audio", codec="mp4a.40.2", timescale=TIMESCALE, header=header(2), sample_rate=48000)
OTHER_VIDEO = Track(track=1, kind="video", codec="avc1.640028", timescale=TIMESCALE, header=header(1, b"other"))
DATA = Track(track=3, kind="data", codec="", timescale=TIMESCALE, header=header(3))


def media(name: object, size: int) -> bytes:
    """Return prft, moof and an mdat of `size` bytes that begins with `name`."""
    body = str(name).encode().ljust(size, b".")
    return make_box("prft", bytes(24)) + make_box("moof", bytes(16)) + make_box("mdat", body)


class Feed:
    """Writes a stream of video, and audio if wanted, into a broadcast, a chunk of each at a time.

    Attributes:
        broadcast: what it writes into.
        sent: every chunk written so far, in order.
    """

    def __init__(
        self,
        broadcast: Broadcast | None = None,
        *,
        tracks: tuple[Track, ...] = (VIDEO, AUDIO),
        chunk_bytes: int = 500,
        epoch: int = 1,
    ) -> None:
        self.broadcast = broadcast or Broadcast(StreamName("demo"), RingLimits())
        self.sent: list[Chunk] = []
        self._chunk_bytes = chunk_bytes
        self._ticks = BEGIN_TICKS
        self._segment = 100
        self._number = 0
        self._epoch = Epoch(epoch - 1)
        self._tracks = tracks
        self.open(*tracks)

    def open(self, *tracks: Track) -> None:
        """Begin another epoch, in a new segment."""
        self._epoch = Epoch(self._epoch + 1)
        self._tracks = tracks or self._tracks
        self._segment += 1
        self._number = 0
        self.broadcast.open(self._epoch, self._tracks)
        self.broadcast.set_state(StreamState.LIVE, route=ROUTE)

    def push(self, times: int = 1) -> list[Chunk]:
        """Write the next chunk of each track, so many times, and return them."""
        chunks = [chunk for _ in range(times) for chunk in self._next()]
        for chunk in chunks:
            self.broadcast.append(chunk)
        self.sent += chunks
        return chunks

    def interrupt(self) -> None:
        """Tell that the source is away."""
        self.broadcast.set_state(StreamState.INTERRUPTED, "the camera is silent")

    def end(self) -> None:
        """Tell that it is over."""
        self.broadcast.set_state(StreamState.ENDED, "the programme is over")

    def _next(self) -> Iterator[Chunk]:
        last = self._number == CHUNKS_PER_SEGMENT - 1
        for track in self._tracks:
            flags = Flag.END_OF_SEGMENT if last else Flag(0)
            if track.kind != "video" or self._number == 0:
                flags |= Flag.RANDOM_ACCESS
            chunk_id = ChunkId(self._epoch, track.track, self._segment, self._number)
            body = media(chunk_id, self._chunk_bytes)
            yield make_chunk(chunk_id, flags, self._ticks, CHUNK_TICKS, 0, 1, self._ticks * 1000, body)
        self._ticks += CHUNK_TICKS
        self._segment += last
        self._number = 0 if last else self._number + 1
