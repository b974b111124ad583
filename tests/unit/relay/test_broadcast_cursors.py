"""Cursors that are forked, level, or further than the broadcast itself."""

from __future__ import annotations

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.broadcast import Broadcast, Entry, Gap
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import Track

VIDEO = Track(track=1, kind="video", codec="avc1.64001f", timescale=10, header=b"video")
AUDIO = Track(track=2, kind="audio", codec="mp4a.40.2", timescale=10, header=b"audio")


def chunk(track: int, number: int, epoch: int = 1) -> Chunk:
    flags = Flag.RANDOM_ACCESS if number == 0 or track == 2 else Flag(0)
    return make_chunk(ChunkId(Epoch(epoch), track, 1, number), flags, 10_000 + number, 1, 0, 1, 0, b"media")


def opened(chunks: int) -> Broadcast:
    broadcast = Broadcast(StreamName("demo"))
    broadcast.open(Epoch(1), (VIDEO, AUDIO))
    for number in range(chunks):
        push(broadcast, number)
    return broadcast


def push(broadcast: Broadcast, number: int) -> None:
    broadcast.append(chunk(1, number))
    broadcast.append(chunk(2, number))


def ids(entries: list[Entry]) -> list[tuple[int, int]]:
    return [(entry.id.track, entry.id.chunk) for entry in entries if isinstance(entry, Chunk)]


def test_resuming_ahead_within_the_epoch() -> None:
    """What was had elsewhere already is not delivered again when this broadcast gets to it."""
    broadcast = opened(3)
    had = {1: chunk(1, 5).id, 2: chunk(2, 4).id}
    cursor = broadcast.resume(had)
    assert ids(broadcast.read(cursor)) == []
    assert not broadcast.is_level(cursor)
    for number in range(3, 8):
        push(broadcast, number)
    assert ids(broadcast.read(cursor)) == [(2, 5), (1, 6), (2, 6), (1, 7), (2, 7)]
    assert broadcast.is_level(cursor)


def test_resuming_at_the_end_of_a_segment_ahead() -> None:
    """A reader whose last chunk comes here only later, and ends its segment, lost nothing and is told no gap."""
    broadcast = opened(3)
    last = make_chunk(ChunkId(Epoch(1), 2, 1, 3), Flag.END_OF_SEGMENT, 10_003, 1, 0, 1, 0, b"media")
    cursor = broadcast.resume({2: last.id})
    broadcast.append(last)
    following = make_chunk(ChunkId(Epoch(1), 2, 2, 0), Flag.RANDOM_ACCESS, 10_004, 1, 0, 1, 0, b"media")
    broadcast.append(following)
    assert [entry for entry in broadcast.read(cursor) if isinstance(entry, Chunk | Gap)] == [following]


def test_resuming_where_nothing_is_known_yet() -> None:
    """A cold node that knows no track is not level with a reader that has had chunks: they must not come again."""
    broadcast = Broadcast(StreamName("cam"))
    cursor = broadcast.resume({VIDEO.track: ChunkId(Epoch(1), VIDEO.track, 1, 3)})
    broadcast.read(cursor)
    assert not broadcast.is_level(cursor)
    broadcast.open(Epoch(1), (VIDEO,))
    broadcast.read(cursor)
    assert not broadcast.is_level(cursor)


def test_resuming_ahead_survives_a_skip() -> None:
    """A cursor that is moved forward does not forget what it had."""
    broadcast = opened(3)
    cursor = broadcast.resume({1: chunk(1, 5).id})
    broadcast.skip(cursor)
    for number in range(3, 7):
        push(broadcast, number)
    assert (1, 5) not in ids(broadcast.read(cursor))


def test_a_level_cursor_has_read_everything() -> None:
    """Level is who has read everything, and remains so only by reading on."""
    broadcast = opened(4)
    cursor = broadcast.join()
    assert not broadcast.is_level(cursor)
    broadcast.read(cursor)
    assert broadcast.is_level(cursor)
    push(broadcast, 4)
    assert not broadcast.is_level(cursor)


def test_a_waiting_cursor_is_not_level() -> None:
    """Who waits for a random access point will read other things than those who do not."""
    broadcast = opened(0)
    cursor = broadcast.join()
    broadcast.read(cursor)
    assert not broadcast.is_level(cursor)


def test_a_fork_goes_its_own_way() -> None:
    """A forked cursor reads the same as the first one would, and neither moves the other."""
    broadcast = opened(3)
    cursor = broadcast.join()
    fork = cursor.fork()
    expected = broadcast.read(fork)
    push(broadcast, 3)
    assert broadcast.read(cursor)[: len(expected)] == expected
    assert ids(broadcast.read(fork)) == [(1, 3), (2, 3)]
