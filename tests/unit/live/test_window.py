"""The window: what can be named of a stream."""

from __future__ import annotations

import random

import pytest

from headrace.media.manifest import ManifestView, manifest
from headrace.media.playlists import MediaView, media_playlist
from headrace.media.segments import media_bytes
from headrace.relay.broadcast import Opened, StateChange
from headrace.relay.window import Window, WindowLimits
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from unit.live.m3u8 import read
from unit.live.streams import BEGIN_SECONDS, Programme, audio, video, window_of

EPOCH = BEGIN_SECONDS * 1000


def numbers(window: Window, track: int = 1) -> list[int]:
    return [segment.number for segment in window.windows[track].listed(window.limits.seconds)]


def text_of(window: Window, track: int = 1) -> str:
    return media_playlist(MediaView(window.windows[track].listed(window.limits.seconds)))


def test_a_segment_is_its_chunks() -> None:
    """The media of a segment and of its parts are the media of its chunks, in order."""
    entries = Programme().epoch(6.0)
    window = window_of(entries)
    for segment in window.windows[1].segments.values():
        own = [e for e in entries if isinstance(e, Chunk) and e.id.track == 1 and e.id.segment == segment.number]
        assert media_bytes(segment.chunks()) == b"".join(bytes(chunk.media) for chunk in own)
        assert sum(part.duration for part in segment.parts) == segment.duration
    assert window.bytes == sum(len(entry.media) for entry in entries if isinstance(entry, Chunk))


def test_two_nodes_that_took_the_same_chunks_say_the_same() -> None:
    """Whatever else they took before, however tracks interleaved: same bytes at the same place."""
    programme = Programme()
    first, second = programme.epoch(70.0), programme.epoch(20.0)
    whole = window_of(first + second)
    late = [entry for entry in first if isinstance(entry, Opened) or entry.id.segment > 104]
    other = window_of(_shuffled(late) + _shuffled(second))
    for track in (1, 2):
        assert text_of(whole, track) == text_of(other, track)
    assert _mpd(whole) == _mpd(other)


@pytest.mark.parametrize("cut", [1, 3, 30, 51])
def test_an_end_that_was_not_the_end_is_forgotten(cut: int) -> None:
    """A stream that ended within a segment and goes on: who begins later heard of no end, and says the same."""
    programme = Programme()
    first, second = programme.epoch(20.0), programme.epoch(20.0)
    del first[-cut:]
    warm = window_of(first)
    warm.take(StateChange(StreamState.ENDED, "over"))
    ended = text_of(warm)
    window_of(second, warm)
    cold = window_of(first + second)
    assert [text_of(warm, track) for track in (1, 2)] == [text_of(cold, track) for track in (1, 2)]
    assert (_mpd(warm), warm.bytes) == (_mpd(cold), cold.bytes)
    assert ended != text_of(warm)


def _shuffled(entries: list[Opened | Chunk]) -> list[Opened | Chunk]:
    """Return entries with tracks interleaved otherwise, each track in its order."""
    rng = random.Random(7)
    queues = [[e for e in entries if isinstance(e, Chunk) and e.id.track == track] for track in (1, 2)]
    mixed: list[Opened | Chunk] = [entry for entry in entries if isinstance(entry, Opened)]
    while any(queues):
        mixed.append(rng.choice([queue for queue in queues if queue]).pop(0))
    return mixed


def _mpd(window: Window) -> str:
    return manifest(ManifestView([window.windows[track].listed(60.0) for track in (1, 2)], 60.0))


def test_what_is_listed_is_bounded_in_time() -> None:
    """As much as asked for and no more; a little longer it can still be had."""
    window = window_of(Programme().epoch(120.0), Window(WindowLimits(seconds=30.0, grace_seconds=6.0)))
    segments = window.windows[1].listed(30.0)
    assert 30.0 <= sum(segment.seconds for segment in segments) <= 32.0
    assert 36.0 <= sum(segment.seconds for segment in window.windows[1].segments.values()) <= 40.0


def test_what_is_held_is_bounded_in_bytes() -> None:
    """The oldest goes first."""
    window = window_of(Programme().epoch(30.0), Window(WindowLimits(bytes=20_000)))
    assert window.bytes <= 20_000
    assert numbers(window)[-1] == 114


def test_what_is_lost_is_told_with_the_next_chunk() -> None:
    """A playlist says so as soon as it is known, not only with the next part."""
    entries = Programme().epoch(10.0)
    window = window_of([e for e in entries if isinstance(e, Opened) or e.id.segment < 102])
    version = window.windows[1].version
    window.take(next(e for e in entries if isinstance(e, Chunk) and e.id.track == 1 and e.id.segment == 104))
    assert numbers(window) == [100, 101, 102, 103]
    assert window.windows[1].version > version


def test_a_hole_is_a_gap_with_the_time_it_took() -> None:
    """A chunk that never came makes its segment a gap of the same length and number."""
    entries = Programme().epoch(10.0)
    whole = window_of(entries)
    holed = window_of(
        [e for e in entries if not isinstance(e, Chunk) or (e.id.track, e.id.segment, e.id.chunk) != (1, 102, 5)]
    )
    playlist = read(text_of(holed))
    assert [segment.gap for segment in playlist.segments] == [False, False, True, False, False]
    expected = read(text_of(whole))
    assert [segment.seconds for segment in playlist.segments] == [segment.seconds for segment in expected.segments]


def test_lost_segments_are_named() -> None:
    """Whole segments that never came are gaps in the numbers' place."""
    entries = Programme().epoch(12.0)
    kept = [e for e in entries if not isinstance(e, Chunk) or e.id.track != 1 or e.id.segment not in {102, 103}]
    playlist = read(text_of(window_of(kept)))
    assert [(segment.number, segment.gap) for segment in playlist.segments] == [
        (100, False), (101, False), (102, True), (103, True), (104, False), (105, False),
    ]  # fmt: skip
    assert sum(segment.seconds for segment in playlist.segments) == 12.0


def test_a_beginning_in_the_middle_is_not_named() -> None:
    """Nothing is said of a segment whose first chunks were before our time."""
    entries = Programme().epoch(10.0)
    late = [e for e in entries if not isinstance(e, Chunk) or (e.id.segment, e.id.chunk) > (101, 3)]
    assert numbers(window_of(late)) == [102, 103, 104]
    assert numbers(window_of(late), 2) == [102, 103, 104]


def test_what_a_publisher_left_open_is_the_same_gap_everywhere() -> None:
    """Of the last that a publisher said before it died one node heard more than another: all call the rest lost."""
    programme = Programme()
    entries = programme.epoch(5.0)
    programme.segment += 1  # its successor cannot know whether 103 was begun
    following = programme.epoch(4.0)
    texts = set()
    for heard in (0, 1, 3, 12):
        cut = [e for e in entries if not isinstance(e, Chunk) or e.id.segment < 102 or e.id.chunk < heard]
        window = window_of([e for e in cut if not isinstance(e, Chunk) or e.id.segment <= 102] + following)
        texts.add((text_of(window), text_of(window, 2)))
        assert window.segment(EPOCH, 1, 102).lost  # type: ignore[union-attr]
    assert len(texts) == 1
    playlist = read(text_of(window))
    assert [(segment.number, segment.gap, segment.discontinuity) for segment in playlist.segments] == [
        (100, False, 0), (101, False, 0), (102, True, 0), (103, True, 0), (104, False, 1), (105, False, 1),
    ]  # fmt: skip


def test_an_epoch_without_media_changes_nothing() -> None:
    """Not every node hears of it; even one with other tracks than those before and after it."""
    programme = Programme()
    first = programme.epoch(4.0)
    aside = Programme(now=programme.now, epochs=1).epoch(1.0, tracks=(audio(),))[:1]
    programme.now += 1
    second = programme.epoch(4.0)
    assert text_of(window_of(first + aside)) == text_of(window_of(first))
    window = window_of(first + aside + second)
    assert numbers(window) == [100, 101, 102, 103]
    assert text_of(window, 2) == text_of(window_of(first + second), 2)


def test_a_track_that_comes_back_begins_anew() -> None:
    """Its window tells that it is another one than before: what was made of that is not true of it."""
    programme = Programme()
    window = window_of(programme.epoch(4.0))
    before = window.windows[2]
    window_of(programme.epoch(4.0, tracks=(video(),)), window)
    assert 2 not in window.windows
    window_of(programme.epoch(4.0), window)
    assert numbers(window, 2) == [104, 105]
    assert window.windows[2].since != before.since


def test_an_unknown_number_of_epochs_ends_what_is_named() -> None:
    """Where the count of epochs has a hole, playlists begin after it."""
    programme = Programme()
    first = programme.epoch(4.0)
    programme.epochs += 3
    second = programme.epoch(4.0)
    assert numbers(window_of(first + second)) == [102, 103]


def test_numbers_left_out_between_epochs_are_gaps() -> None:
    """A publisher that died may have given out one more than is known: its successor leaves that out."""
    programme = Programme()
    first = programme.epoch(4.0)
    programme.segment += 1
    playlist = read(text_of(window_of(first + programme.epoch(4.0))))
    assert [(segment.number, segment.gap, segment.discontinuity) for segment in playlist.segments] == [
        (100, False, 0), (101, False, 0), (102, True, 0), (103, False, 1), (104, False, 1),
    ]  # fmt: skip


def test_an_epoch_that_never_came_is_counted_in_a_gap() -> None:
    """A publisher that died as it began has told an epoch and a segment: one gap stands for both, at every node."""
    programme = Programme()
    first = programme.epoch(6.0)
    programme.segment, programme.epochs = programme.segment + 1, programme.epochs + 1
    second = programme.epoch(4.0)
    for heard in (0, 3):
        had = [e for e in first if isinstance(e, Opened) or e.id.segment < 102 or e.id.chunk < heard]
        playlist = read(text_of(window_of(had + second)))
        assert [(segment.number, segment.gap, segment.discontinuity) for segment in playlist.segments] == [
            (100, False, 0), (101, False, 0), (102, True, 0), (103, True, 1), (104, False, 2), (105, False, 2),
        ]  # fmt: skip


def test_a_chunk_of_the_past_changes_nothing() -> None:
    """Doubles and old epochs are left out."""
    programme = Programme()
    first, second = programme.epoch(4.0), programme.epoch(4.0)
    window = window_of(first + second)
    before = text_of(window)
    assert text_of(window_of(first + second[1:8], window)) == before
