"""What crosses a border: new identities, the same media, nothing twice and nothing hidden."""

from __future__ import annotations

from headrace.identifiers import ChunkId, Epoch
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import Track
from headrace_ingress.border.minting import Mint
from headrace_ingress.events import Chunks, EpochOpened, Event, Numbers

VIDEO = Track(track=1, kind="video", codec="avc1", timescale=1000, header=b"v", discontinuity=9)
AUDIO = Track(track=2, kind="audio", codec="mp4a", timescale=1000, header=b"a", discontinuity=9)
UTC = 5000.0
FAR = Epoch(77)


def chunk(track: int, segment: int, number: int, at_ms: int, key: bool = False, epoch: Epoch = FAR) -> Chunk:
    flags = Flag.RANDOM_ACCESS if key or track == 2 else Flag(0)
    media = f"{track}/{segment}.{number}".encode()
    return make_chunk(ChunkId(epoch, track, segment, number), flags, at_ms, 100, number // 5, 3, 42, media)


def opened(numbers: Numbers, epoch: Epoch = FAR) -> Mint:
    mint = Mint(numbers, lambda: UTC)
    mint.open(epoch, (VIDEO, AUDIO))
    return mint


def chunks(events: list[Event]) -> list[Chunk]:
    return [one for event in events if isinstance(event, Chunks) for one in event.chunks]


def test_a_publication_begins_at_a_random_access_point() -> None:
    """Chunk 0 of the next segment here, wherever the one there was; sound that goes with it comes along."""
    mint = opened(Numbers(Epoch(3), 40, 0.0, 2))
    assert mint.take(chunk(1, 900, 6, 600)) == []
    assert mint.take(chunk(2, 900, 6, 590)) == []
    assert mint.take(chunk(2, 900, 7, 690)) == []
    first = mint.take(chunk(1, 900, 7, 700, key=True))
    assert isinstance(first[0], EpochOpened)
    assert (first[0].epoch, [track.discontinuity for track in first[0].tracks]) == (Epoch(5_000_000), [2, 2])
    assert [one.id.position[1:] for one in chunks(first)] == [(40, 0), (40, 0)]
    assert [bytes(one.media) for one in chunks(first)] == [b"2/900.7", b"1/900.7"]
    (second,) = chunks(mint.take(chunk(1, 900, 8, 800)))
    (third,) = chunks(mint.take(chunk(1, 901, 0, 900, key=True)))
    assert (second.id.position[1:], third.id.position[1:]) == ((40, 1), (41, 0))
    assert (third.decode_time, third.capture_us, bytes(third.media)) == (900, 42, b"1/901.0")
    assert (mint.numbers.next_segment, mint.numbers.end_seconds, mint.numbers.epochs) == (42, 1.0, 3)
    assert mint.had[1] == ChunkId(FAR, 1, 901, 0)


def test_what_is_missing_there_is_missing_here() -> None:
    """Holes in the numbers stay holes, so that a gap is told."""
    mint = opened(Numbers(Epoch(0), 1, 0.0))
    mint.take(chunk(1, 5, 0, 0, key=True))
    (late,) = chunks(mint.take(chunk(1, 7, 3, 900)))
    assert late.id.position[1:] == (3, 3)


def test_what_goes_backwards_there_is_left_out() -> None:
    """A chunk that comes again, one of before it, and sound of the segment before the first: numbers here only grow."""
    mint = opened(Numbers(Epoch(0), 40, 0.0))
    mint.take(chunk(1, 900, 7, 700, key=True))
    mint.take(chunk(1, 900, 8, 800))
    assert mint.take(chunk(2, 899, 9, 650)) == []
    for again in (chunk(1, 900, 8, 800), chunk(1, 900, 6, 600), chunk(1, 899, 9, 500)):
        assert mint.take(again) == []
    (sound,) = chunks(mint.take(chunk(2, 900, 7, 700)))
    assert sound.id.position[1:] == (40, 0)


def test_numbers_that_cannot_be_are_left_out() -> None:
    """Another cluster cannot have this one's numbers of a stream, or its timeline, end for good."""
    mint = opened(Numbers(Epoch(0), 40, 0.0))
    assert mint.take(chunk(1, 900, 0, 2**63, key=True)) == []
    mint.take(chunk(1, 900, 0, 700, key=True))
    assert mint.take(chunk(1, 2**63, 0, 800)) == []
    assert mint.take(chunk(1, 2**50, 0, 800)) == []
    assert mint.take(chunk(1, 901, 0, 2**60)) == []
    (later,) = chunks(mint.take(chunk(1, 901, 1, 900)))
    assert later.id.position[1:] == (41, 1)
    assert mint.numbers.end_seconds == 1.0


def test_what_was_had_here_does_not_come_again() -> None:
    """Media from before the end of the timeline here is left out."""
    mint = opened(Numbers(Epoch(1), 10, 2.0))
    assert mint.take(chunk(1, 5, 0, 1500, key=True)) == []
    assert chunks(mint.take(chunk(1, 6, 0, 2000, key=True)))[0].id.segment == 10


def test_the_same_epoch_goes_on_and_another_begins_anew() -> None:
    """A link that was lost and is there again changes nothing; a new epoch there is one here."""
    mint = opened(Numbers(Epoch(0), 1, 0.0))
    (first,) = chunks(mint.take(chunk(1, 5, 0, 0, key=True)))
    mint.open(FAR, (VIDEO, AUDIO))
    (second,) = chunks(mint.take(chunk(1, 5, 1, 100)))
    assert first.is_followed_by(second.id)
    mint.open(Epoch(78), (VIDEO,))
    assert mint.had == {}
    assert mint.take(chunk(1, 5, 2, 200)) == []
    third = mint.take(chunk(1, 5, 2, 200, key=True, epoch=Epoch(78)))
    assert isinstance(third[0], EpochOpened)
    assert chunks(third)[0].id == ChunkId(third[0].epoch, 1, 2, 0)
    assert third[0].epoch > first.id.epoch
    assert mint.take(chunk(3, 5, 2, 200, epoch=Epoch(78))) == []
