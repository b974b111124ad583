"""Chunks and tracks for tests of the relay: small numbers, ten ticks a second."""

from __future__ import annotations

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.broadcast import Broadcast, Entry, Gap, Opened, RingLimits, StateChange
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import Track

VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=10, header=b"video")
AUDIO = Track(track=2, kind="audio", codec="mp4a.40.2", timescale=10, header=b"audio")
PER_SEGMENT = 4
BEGIN = 10_000
EPOCH_TICKS = 40


def video(number: int, epoch: int = 1, size: int = 100) -> Chunk:
    """Return video chunk `number` of an epoch: a tenth of a second, four to a segment, the first with a keyframe."""
    return chunk(1, number, epoch, size)


def audio(number: int, epoch: int = 1, size: int = 100) -> Chunk:
    """Return audio chunk `number` of an epoch, at the same time as the video chunk of that number."""
    return chunk(2, number, epoch, size)


def chunk(track: int, number: int, epoch: int = 1, size: int = 100) -> Chunk:
    segment, place = divmod(number, PER_SEGMENT)
    flags = Flag.RANDOM_ACCESS if place == 0 or track == 2 else Flag(0)
    if place == PER_SEGMENT - 1:
        flags |= Flag.END_OF_SEGMENT
    id = ChunkId(Epoch(epoch), track, epoch + segment, place)  # so epoch 2 follows four chunks of epoch 1
    return make_chunk(id, flags, BEGIN + EPOCH_TICKS * epoch + number, 1, 0, 1, 0, b"m" * size)


def broadcast_of(*entries: Chunk, limits: RingLimits | None = None, epoch: int = 1) -> Broadcast:
    """Return a broadcast with an open epoch of video and audio, and these chunks."""
    broadcast = Broadcast(StreamName("demo"), limits)
    broadcast.open(Epoch(epoch), (VIDEO, AUDIO))
    for entry in entries:
        broadcast.append(entry)
    return broadcast


def words(entries: list[Entry]) -> list[str]:
    """Return entries as short words: `v0`, `a3`, `gap v7`, `open 1`, `live`."""
    return [word(entry) for entry in entries]


def word(entry: Entry) -> str:
    if isinstance(entry, Chunk):
        return _name(entry.id)
    if isinstance(entry, Gap):
        return f"gap {_name(entry.next)}"
    if isinstance(entry, Opened):
        return f"open {entry.epoch}"
    assert isinstance(entry, StateChange)
    return entry.state.value


def _name(id: ChunkId) -> str:
    number = (id.segment - id.epoch) * PER_SEGMENT + id.chunk
    epoch = "" if id.epoch == 1 else f"@{id.epoch}"
    return f"{'.va'[id.track]}{number}{epoch}"
