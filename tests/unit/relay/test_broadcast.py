"""What a broadcast promises its readers, case by case."""

from __future__ import annotations

import msgspec
import pytest

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.broadcast import ENTRY_BYTES, Broadcast, Entry, Gap, Opened, RingLimits
from headrace.wire.chunk import Chunk
from headrace.wire.stream import RouteHop, StreamState, Track
from unit.relay.streams import AUDIO, VIDEO, audio, broadcast_of, chunk, video, word, words


def pairs(numbers: range) -> list[Chunk]:
    return [c for n in numbers for c in (video(n), audio(n))]


# -- joining ---------------------------------------------------------------------------------------


def test_joining_begins_at_the_newest_random_access_point() -> None:
    """The tracks are told first, then the newest keyframe and what followed it."""
    broadcast = broadcast_of(*pairs(range(6)))
    assert words(broadcast.read(broadcast.join())) == ["interrupted", "open 1", "v4", "a4", "v5", "a5"]


def test_joining_takes_earlier_audio_of_the_same_time() -> None:
    """Audio that arrived before the keyframe but sounds with it is delivered, audio from before is not."""
    broadcast = broadcast_of(*pairs(range(4)), audio(4), audio(5), video(4))
    assert words(broadcast.read(broadcast.join()))[2:] == ["a4", "a5", "v4"]


def test_joining_does_not_take_late_audio_of_an_earlier_time() -> None:
    """What the keyframe's segment does not need, since it came after but was before, is delivered in order all the
    same: a track has no holes after its first chunk."""
    broadcast = broadcast_of(*pairs(range(3)), video(3), video(4), audio(3), audio(4))
    assert words(broadcast.read(broadcast.join()))[2:] == ["v4", "a3", "a4"]


def test_joining_before_the_first_keyframe_waits_for_it() -> None:
    """The tracks are told while it waits, so that a player can get ready."""
    broadcast = broadcast_of(video(1), audio(1), video(2))
    cursor = broadcast.join()
    assert words(broadcast.read(cursor)) == ["interrupted", "open 1"]
    assert broadcast.lag(cursor) == 0
    broadcast.append(video(3))
    assert broadcast.read(cursor) == []
    broadcast.append(video(4))
    assert words(broadcast.read(cursor)) == ["v4"]


def test_joining_an_empty_broadcast_tells_its_state_only() -> None:
    """A stream that is not there yet is interrupted, and its reader waits."""
    broadcast = Broadcast(StreamName("demo"))
    cursor = broadcast.join()
    assert words(broadcast.read(cursor)) == ["interrupted"]
    assert broadcast.read(cursor) == []


@pytest.mark.parametrize(("back", "first"), [(0.0, "v8"), (0.3, "v4"), (0.6, "v4"), (0.7, "v0"), (60.0, "v0")])
def test_joining_with_some_of_the_past(back: float, first: str) -> None:
    """At the newest random access point that is old enough, or the oldest there is."""
    broadcast = broadcast_of(*pairs(range(11)))
    assert words(broadcast.read(broadcast.join(back)))[2] == first


def test_the_past_does_not_reach_into_another_epoch() -> None:
    """Its tracks may be others."""
    broadcast = broadcast_of(*pairs(range(5)))
    broadcast.open(Epoch(2), (VIDEO, AUDIO))
    broadcast.append(video(0, epoch=2))
    assert words(broadcast.read(broadcast.join(60.0)))[1:] == ["open 2", "v0@2"]


def test_who_waits_for_the_past_gets_it_when_it_comes() -> None:
    """A cold node hands a child as much as it gets itself."""
    broadcast = broadcast_of()
    cursor = broadcast.join(0.5)
    for item in pairs(range(10)):
        broadcast.append(item)
    assert words(broadcast.read(cursor))[2] == "v4"


def test_audio_only_is_joined_at_its_newest_chunk() -> None:
    """Every chunk of audio is a random access point."""
    broadcast = Broadcast(StreamName("demo"))
    broadcast.open(Epoch(1), (AUDIO,))
    for number in range(7):
        broadcast.append(audio(number))
    assert words(broadcast.read(broadcast.join()))[2:] == ["a6"]


def test_the_lowest_video_track_leads() -> None:
    """With two renditions it is the first whose keyframes are joined at."""
    broadcast = Broadcast(StreamName("demo"))
    low = Track(track=3, kind="video", codec="avc1.64001f", timescale=10, header=b"low")
    broadcast.open(Epoch(1), (AUDIO, low, VIDEO))
    for item in (video(0), chunk(3, 0), video(1), chunk(3, 4)):
        broadcast.append(item)
    entries = broadcast.read(broadcast.join())
    assert entries[2:] == [video(0), chunk(3, 0), video(1), Gap(chunk(3, 4).id), chunk(3, 4)]


# -- resuming --------------------------------------------------------------------------------------


def test_resuming_goes_on_after_the_last_chunk_of_each_track() -> None:
    """Tracks that got further than others do not get anything twice."""
    broadcast = broadcast_of(*pairs(range(8)))
    cursor = broadcast.resume({1: video(3).id, 2: audio(5).id})
    assert words(broadcast.read(cursor))[2:] == ["v4", "v5", "v6", "a6", "v7", "a7"]


def test_resuming_with_everything_had_waits_for_the_next_chunk() -> None:
    """Nothing is delivered again and nothing is reported lost."""
    broadcast = broadcast_of(*pairs(range(8)))
    cursor = broadcast.resume({1: video(7).id, 2: audio(7).id})
    assert words(broadcast.read(cursor)) == ["interrupted"]
    broadcast.append(video(8))
    assert words(broadcast.read(cursor)) == ["open 1", "v8"]


def test_resuming_past_what_the_ring_holds_tells_a_gap_for_each_track() -> None:
    """The reader learns where it goes on."""
    broadcast = broadcast_of(video(10), audio(10), video(11))
    cursor = broadcast.resume({1: video(3).id, 2: audio(3).id})
    assert words(broadcast.read(cursor))[1:] == ["open 1", "gap v10", "v10", "gap a10", "a10", "v11"]


def test_resuming_at_the_very_next_chunk_tells_no_gap() -> None:
    """A ring that begins exactly where the reader stopped lost nothing."""
    broadcast = broadcast_of(video(2), video(3))
    cursor = broadcast.resume({1: video(1).id})
    assert words(broadcast.read(cursor))[2:] == ["v2", "v3"]


def test_resuming_where_a_segment_begins_tells_a_gap_if_its_end_is_unknown() -> None:
    """Nobody here knows whether the chunk had was the last of its segment; a gap that is none does no harm."""
    broadcast = broadcast_of(video(4))
    cursor = broadcast.resume({1: video(2).id})
    assert words(broadcast.read(cursor))[2:] == ["gap v4", "v4"]


def test_resuming_with_a_hole_at_the_place() -> None:
    """What the broadcast itself missed is told once."""
    broadcast = broadcast_of(*pairs(range(3)), video(5), audio(5))
    cursor = broadcast.resume({1: video(2).id, 2: audio(1).id})
    assert words(broadcast.read(cursor))[2:] == ["a2", "gap v5", "v5", "gap a5", "a5"]


def test_resuming_a_track_that_was_not_had_begins_with_the_others() -> None:
    """A reader without any audio yet does not get a ring full of old audio."""
    broadcast = broadcast_of(*pairs(range(8)))
    cursor = broadcast.resume({1: video(5).id})
    assert words(broadcast.read(cursor))[2:] == ["v6", "a6", "v7", "a7"]


def test_resuming_after_nothing_is_joining() -> None:
    """An empty place is no place."""
    broadcast = broadcast_of(*pairs(range(6)))
    assert words(broadcast.read(broadcast.resume({})))[2:] == ["v4", "a4", "v5", "a5"]


def test_resuming_on_an_empty_broadcast_gets_what_comes() -> None:
    """A cold node forwards from the place that was asked for, without what was had already."""
    broadcast = Broadcast(StreamName("demo"))
    cursor = broadcast.resume({1: video(5).id})
    assert words(broadcast.read(cursor)) == ["interrupted"]
    broadcast.open(Epoch(1), (VIDEO, AUDIO))
    for number in range(4, 8):
        broadcast.append(video(number))
    assert words(broadcast.read(cursor)) == ["open 1", "v6", "v7"]


def test_resuming_on_an_empty_broadcast_that_begins_too_late() -> None:
    """The gap is told when the first chunk shows it."""
    broadcast = Broadcast(StreamName("demo"))
    cursor = broadcast.resume({1: video(5).id})
    broadcast.open(Epoch(1), (VIDEO, AUDIO))
    broadcast.append(video(8))
    assert words(broadcast.read(cursor)) == ["interrupted", "open 1", "gap v8", "v8"]


def test_resuming_from_an_older_epoch_reads_its_rest_first() -> None:
    """A new epoch's first chunk follows whatever was the old one's last."""
    broadcast = broadcast_of(*pairs(range(4)))
    broadcast.open(Epoch(2), (VIDEO, AUDIO))
    broadcast.append(video(0, epoch=2))
    cursor = broadcast.resume({1: video(2).id, 2: audio(2).id})
    assert words(broadcast.read(cursor))[1:] == ["open 1", "v3", "a3", "open 2", "v0@2"]


# -- order, duplicates, gaps -----------------------------------------------------------------------


@pytest.mark.parametrize("late", [video(2), video(5), audio(0, epoch=0), video(9, epoch=2), chunk(3, 7)], ids=str)
def test_what_was_had_or_does_not_belong_is_dropped_and_counted(late: Chunk) -> None:
    """Duplicates, older epochs, epochs not opened and unknown tracks change nothing."""
    broadcast = broadcast_of(*pairs(range(6)))
    end = broadcast.end
    assert broadcast.append(late) is False
    assert (broadcast.end, broadcast.duplicates) == (end, 1)


def test_a_hole_is_told_to_every_cursor() -> None:
    """One gap entry before the chunk that follows it."""
    broadcast = broadcast_of(*pairs(range(2)))
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.append(video(3))
    assert words(broadcast.read(cursor)) == ["gap v3", "v3"]
    assert broadcast.gaps == 1


def test_a_missing_segment_is_a_hole() -> None:
    """After END_OF_SEGMENT only chunk 0 of the next segment follows."""
    broadcast = broadcast_of(*[video(n) for n in range(4)])
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.append(video(8))
    assert words(broadcast.read(cursor)) == ["gap v8", "v8"]


def test_a_gap_told_by_a_parent_is_passed_on_once() -> None:
    """And not told again by the chunk that it announced, nor when it says nothing new."""
    broadcast = broadcast_of(video(0), video(1))
    cursor = broadcast.join()
    broadcast.read(cursor)
    for told in (video(6), video(6), video(4), video(1)):
        broadcast.lose(Gap(told.id))
    broadcast.append(video(6))
    assert words(broadcast.read(cursor)) == ["gap v6", "v6"]


def test_a_gap_that_is_none_is_not_passed_on() -> None:
    """A parent that cannot know says more than is true; we do know."""
    broadcast = broadcast_of(*[video(n) for n in range(4)])
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.lose(Gap(video(4).id))
    broadcast.lose(Gap(video(9, epoch=7).id))
    broadcast.lose(Gap(chunk(9, 5).id))
    assert broadcast.read(cursor) == []


def test_after_a_told_gap_what_lies_before_it_is_late() -> None:
    """A chunk that was declared lost is not delivered out of order."""
    broadcast = broadcast_of(video(0))
    broadcast.lose(Gap(video(5).id))
    assert broadcast.append(video(3)) is False
    assert broadcast.append(video(5)) is True


# -- epochs ----------------------------------------------------------------------------------------


def test_a_new_epoch_is_told_before_its_first_chunk() -> None:
    """Readers that are behind get the rest of the old epoch first."""
    broadcast = broadcast_of(*pairs(range(2)))
    cursor = broadcast.join()
    broadcast.open(Epoch(2), (VIDEO,))
    broadcast.append(video(0, epoch=2))
    assert words(broadcast.read(cursor))[1:] == ["open 1", "v0", "a0", "v1", "a1", "open 2", "v0@2"]


def test_an_epoch_that_is_not_newer_is_refused() -> None:
    """Epochs only grow."""
    broadcast = broadcast_of(epoch=5)
    assert broadcast.open(Epoch(5), (VIDEO,)) is False
    assert broadcast.open(Epoch(4), (VIDEO,)) is False
    assert set(broadcast.tracks) == {1, 2}


def test_an_epoch_that_begins_inside_a_segment_has_a_hole() -> None:
    """Its chunk 0 was missed by whoever had the epoch before."""
    broadcast = broadcast_of(*pairs(range(4)))
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.open(Epoch(2), (VIDEO, AUDIO))
    broadcast.append(video(1, epoch=2))
    assert words(broadcast.read(cursor)) == ["open 2", "gap v1@2", "v1@2"]


def test_an_epoch_that_leaves_numbers_out_has_a_hole() -> None:
    """Its ingress did not know what the one before had begun, and viewers are told so."""
    broadcast = broadcast_of(*pairs(range(4)))
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.open(Epoch(3), (VIDEO, AUDIO))  # a segment later than epoch 2 would begin
    broadcast.append(video(0, epoch=3))
    assert words(broadcast.read(cursor)) == ["open 3", "gap v0@3", "v0@3"]


def test_a_joiner_waits_for_the_new_epochs_keyframe() -> None:
    """The old epoch's random access point does not count any more."""
    broadcast = broadcast_of(*pairs(range(2)))
    broadcast.open(Epoch(2), (VIDEO, AUDIO))
    cursor = broadcast.join()
    assert words(broadcast.read(cursor)) == ["interrupted", "open 2"]
    broadcast.append(video(0, epoch=2))
    assert words(broadcast.read(cursor)) == ["v0@2"]


def test_last_keeps_what_was_had_of_the_epoch_before() -> None:
    """Whoever resumes elsewhere right after an epoch began misses nothing of it."""
    broadcast = broadcast_of(*pairs(range(3)))
    broadcast.open(Epoch(2), (VIDEO,))
    assert {track: item.id for track, item in broadcast.last.items()} == {1: video(2).id}


# -- states ----------------------------------------------------------------------------------------


def test_a_state_is_told_once_and_in_its_place() -> None:
    """Readers that follow get it between the chunks it came between."""
    broadcast = broadcast_of(video(0))
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.append(video(1))
    broadcast.set_state(StreamState.LIVE, route=(RouteHop("in", "ingress"),))
    broadcast.set_state(StreamState.LIVE)
    broadcast.append(video(2))
    assert words(broadcast.read(cursor)) == ["v1", "live", "v2"]
    assert broadcast.state.route == (RouteHop("in", "ingress"),)


def test_a_late_reader_is_not_told_states_that_are_over() -> None:
    """It reads the newest one only, and never an older one after it."""
    broadcast = broadcast_of(video(0))
    broadcast.set_state(StreamState.LIVE)
    broadcast.set_state(StreamState.INTERRUPTED, "camera away")
    broadcast.append(video(1))
    broadcast.set_state(StreamState.LIVE, "camera back")
    assert words(broadcast.read(broadcast.join())) == ["live", "open 1", "v0", "v1"]


def test_a_skip_does_not_lose_the_state() -> None:
    """Who is moved past a change of state is told it all the same."""
    broadcast = broadcast_of(*pairs(range(2)))
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.set_state(StreamState.LIVE)
    for item in pairs(range(2, 5)):
        broadcast.append(item)
    broadcast.skip(cursor)
    assert words(broadcast.read(cursor))[0] == "live"


def test_a_waiting_reader_hears_of_states() -> None:
    """Waiting for a random access point is no reason not to know."""
    broadcast = broadcast_of()
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.set_state(StreamState.ENDED, "over")
    assert words(broadcast.read(cursor)) == ["ended"]


# -- slow readers and the ring ---------------------------------------------------------------------


def test_skipping_goes_forward_to_the_newest_keyframe_and_says_so() -> None:
    """Gaps name the first chunk that comes; entries passed over are counted."""
    broadcast = broadcast_of(*pairs(range(2)))
    cursor = broadcast.join()
    broadcast.read(cursor)
    for item in pairs(range(2, 10)):
        broadcast.append(item)
    assert broadcast.skip(cursor) == 12
    assert cursor.skipped == 12
    assert words(broadcast.read(cursor)) == ["gap v8", "v8", "gap a8", "a8", "v9", "a9"]


def test_skipping_tells_no_gap_for_a_track_that_lost_nothing() -> None:
    """Audio that was read up to the keyframe goes on without one."""
    broadcast = broadcast_of(video(0), audio(0), audio(1), audio(2), audio(3))
    cursor = broadcast.join()
    broadcast.read(cursor)
    for item in (video(1), video(2), video(3), video(4), audio(4)):
        broadcast.append(item)
    broadcast.skip(cursor)
    assert words(broadcast.read(cursor)) == ["gap v4", "v4", "a4"]


def test_skipping_with_no_keyframe_ahead_does_nothing() -> None:
    """A cursor never goes back."""
    broadcast = broadcast_of(*pairs(range(2)))
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.append(video(2))
    assert broadcast.skip(cursor) == 0
    assert words(broadcast.read(cursor)) == ["v2"]


def test_reading_in_small_pieces_stops_after_the_chunk_that_fills_one() -> None:
    """At least one entry comes each time."""
    broadcast = broadcast_of(*pairs(range(3)))
    cursor = broadcast.join()
    assert words(broadcast.read(cursor, 1)) == ["interrupted", "open 1", "v0"]
    assert words(broadcast.read(cursor, 2 * len(audio(0).record))) == ["a0", "v1"]
    assert broadcast.lag(cursor) == 3


def test_the_ring_lets_go_by_age_but_keeps_the_newest_keyframe() -> None:
    """A long GOP can be joined though it is older than the ring is long."""
    broadcast = broadcast_of(*[video(n) for n in range(4)], limits=RingLimits(seconds=0.2))
    for number in range(8, 12):  # in one segment after another hole: the newest keyframe is v8
        broadcast.append(video(number))
    long = broadcast_of(limits=RingLimits(seconds=0.2))
    long.append(video(0))
    for number in range(1, 4):
        long.append(video(number))
    assert words(long.read(long.join()))[2:] == ["v0", "v1", "v2", "v3"]
    assert words(broadcast.read(broadcast.resume({1: video(0).id})))[2:] == ["gap v8", "v8", "v9", "v10", "v11"]


def test_the_ring_lets_go_by_bytes_and_readers_are_moved_forward() -> None:
    """Even the newest keyframe goes; then readers wait for the next."""
    room = 3 * (ENTRY_BYTES + len(video(0).record))
    broadcast = broadcast_of(limits=RingLimits(bytes=room))
    cursor = broadcast.join()
    broadcast.append(video(0))
    broadcast.read(cursor)
    for number in range(1, 8):
        broadcast.append(video(number))
        assert broadcast.bytes <= room
    assert cursor.skipped == 0  # counted when it is read
    assert broadcast.read(cursor) == []  # v4 is gone, v8 not there yet
    broadcast.append(video(8))
    assert words(broadcast.read(cursor)) == ["gap v8", "v8"]


def test_a_reader_that_fell_out_is_told_a_gap_and_counted() -> None:
    """It goes on at the newest random access point, with the tracks' gaps."""
    room = 6 * (ENTRY_BYTES + len(video(0).record))
    broadcast = broadcast_of(*pairs(range(1)), limits=RingLimits(bytes=room))
    cursor = broadcast.join()
    broadcast.read(cursor)
    for item in pairs(range(1, 6)):
        broadcast.append(item)
    skipped = cursor.skipped
    assert words(broadcast.read(cursor)) == ["gap v4", "v4", "gap a4", "a4", "v5", "a5"]
    assert cursor.skipped > skipped


def test_a_chunk_larger_than_the_ring_is_still_delivered() -> None:
    """The newest entry is held whatever it weighs."""
    broadcast = broadcast_of(limits=RingLimits(bytes=1000))
    cursor = broadcast.join()
    broadcast.append(video(0, size=5000))
    assert words(broadcast.read(cursor))[-1] == "v0"


def test_states_and_gaps_alone_do_not_grow_without_bound() -> None:
    """A peer that only ever tells states or gaps fills a bounded ring."""
    broadcast = broadcast_of(limits=RingLimits(bytes=64 * 1024))
    for number in range(1000):
        broadcast.set_state(StreamState.LIVE, str(number))
        broadcast.lose(Gap(ChunkId(Epoch(1), 1, 100 + number, 1)))
        broadcast.open(Epoch(2 + number), (VIDEO,))
    assert broadcast.bytes <= 64 * 1024
    assert broadcast.end > 1000


def test_a_reader_moved_past_the_end_of_an_epoch_is_told_a_gap() -> None:
    """Nobody can say how much of the old epoch it missed."""
    broadcast = broadcast_of(*pairs(range(2)))
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.append(audio(2))
    broadcast.open(Epoch(2), (VIDEO, AUDIO))
    broadcast.append(video(0, epoch=2))
    broadcast.append(audio(0, epoch=2))
    broadcast.skip(cursor)
    assert words(broadcast.read(cursor)) == ["open 2", "gap v0@2", "v0@2", "gap a0@2", "a0@2"]


# -- listeners -------------------------------------------------------------------------------------


def test_listeners_hear_of_every_change_and_may_leave_while_it_is_told() -> None:
    """A consumer that goes away in its own callback disturbs nobody."""
    broadcast = broadcast_of()
    calls = []

    def once() -> None:
        calls.append("once")
        broadcast.listeners.discard(once)

    broadcast.listeners |= {once, lambda: calls.append("always")}
    broadcast.append(video(0))
    broadcast.set_state(StreamState.LIVE)
    broadcast.lose(Gap(video(3).id))
    broadcast.append(video(0))
    assert sorted(calls) == ["always"] * 3 + ["once"]


# -- rates that are told anew ----------------------------------------------------------------------


def faster(rate: int) -> tuple[Track, ...]:
    return msgspec.structs.replace(VIDEO, bandwidth=rate, average_bandwidth=rate // 2), AUDIO


def rates(entries: list[Entry]) -> list[str]:
    """Return entries as words, and of tracks the rate of the first."""
    return [str(e.tracks[0].bandwidth) if isinstance(e, Opened) else word(e) for e in entries]


def test_new_rates_are_told_at_their_place() -> None:
    """A reader that follows and one that comes later behind it hear them between the same chunks."""
    broadcast = broadcast_of(video(0), video(1))
    follower, late = broadcast.join(), broadcast.join()
    assert rates(broadcast.read(follower)) == ["interrupted", "0", "v0", "v1"]
    assert broadcast.open(Epoch(1), faster(500))
    broadcast.append(video(2))
    assert rates(broadcast.read(follower)) == ["500", "v2"]
    assert broadcast.open(Epoch(1), faster(400))
    assert rates(broadcast.read(follower)) == ["400"]
    # It is told the newest where its epoch begins for it, and nothing older or twice after that.
    assert rates(broadcast.read(late)) == ["interrupted", "400", "v0", "v1", "v2"]
    broadcast.append(video(3))
    assert rates(broadcast.read(late)) == rates(broadcast.read(follower)) == ["v3"]
    assert broadcast.tracks[1].bandwidth == 400


def test_who_was_moved_past_new_rates_hears_of_them() -> None:
    """Before its next chunk."""
    broadcast = broadcast_of(*(video(n) for n in range(3)))
    cursor = broadcast.join()
    broadcast.read(cursor)
    broadcast.open(Epoch(1), faster(500))
    broadcast.append(video(3))
    broadcast.append(video(4))
    assert broadcast.skip(cursor)
    assert rates(broadcast.read(cursor)) == ["500", "gap v4", "v4"]


def test_only_rates_may_be_told_anew() -> None:
    """Other tracks, the same ones once more, and those of an older epoch change nothing."""
    broadcast = broadcast_of(video(0), epoch=2)
    end = broadcast.end
    other = msgspec.structs.replace(VIDEO, width=640, bandwidth=500)
    assert not broadcast.open(Epoch(2), (VIDEO, AUDIO))
    assert not broadcast.open(Epoch(2), (other, AUDIO))
    assert not broadcast.open(Epoch(2), faster(500)[:1])
    assert not broadcast.open(Epoch(1), faster(500))
    assert broadcast.end == end


def test_new_rates_end_with_their_epoch() -> None:
    """The next one begins with its own."""
    broadcast = broadcast_of(video(0))
    cursor = broadcast.join()
    broadcast.open(Epoch(1), faster(500))
    broadcast.open(Epoch(2), faster(300))
    broadcast.append(video(0, epoch=2))
    assert rates(broadcast.read(cursor))[1:] == ["500", "v0", "300", "v0@2"]
