"""Manifests of what a window holds, as the stream goes on."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.identifiers import StreamName
from headrace.media.manifest import CHUNK_SECONDS, ManifestView, manifest
from headrace.media.segments import Segment
from headrace.relay.broadcast import Broadcast, Opened, StateChange
from headrace.relay.window import Window
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from unit.live.mpd import Manifest, Timed, read_mpd
from unit.live.streams import BEGIN_SECONDS, Programme, audio, video, window_of


def manifest_of(window: Window) -> str:
    """Return the MPD as an edge tells it: the open segment from its first chunk on."""
    tracks: list[list[Segment]] = []
    for _, track in sorted(window.windows.items()):
        listed = track.listed(window.limits.seconds)
        newest = track.newest
        if newest is not None and newest.parts and newest not in listed:
            listed.append(newest)
        tracks.append(listed)
    return manifest(
        ManifestView(
            [track for track in tracks if track],
            window.limits.seconds,
            window.ended,
            declared=window.tracks.values(),
        )
    )


def timeline(found: Manifest, track: int = 1) -> list[Timed]:
    return [segment for period in found.periods for segment in period.get(track, [])]


@settings(max_examples=30, deadline=None)
@given(
    seconds=st.floats(4.0, 14.0),
    gop=st.integers(10, 200),
    rate=st.sampled_from([5.0, 12.5, 25.0, 30000 / 1001, 60.0]),
)
def test_what_is_told_of_a_length_only_grows(seconds: float, gop: int, rate: float) -> None:
    """To the true one: no MPD takes back what one before it told, and each begins a segment where the next one will."""
    programme = Programme()
    entries = programme.epoch(seconds, gop=gop, frame_rate=rate)
    truth = {
        (number, segment.start): segment
        for number, track in window_of(entries).windows.items()
        for segment in track.segments.values()
    }
    window, told = Window(), dict[str, int]()
    for entry in entries:
        window.take(entry)
        if not any(track.newest and track.newest.parts for track in window.windows.values()):
            continue
        found = read_mpd(manifest_of(window))
        for number in (1, 2):
            for one in timeline(found, number):
                true = truth[number, one.start]
                assert one.duration >= told.get(one.address, 0)
                # Of the last there is no more to come.
                assert one.duration <= true.duration or true.number == programme.segment - 1
                told[one.address] = one.duration


@pytest.mark.parametrize("gop", [25, 100, 125])
def test_a_segment_can_be_had_from_its_first_chunk_on(gop: int) -> None:
    """However long GOPs are: its availability by the MPD's reckoning is a chunk after it began."""
    window = window_of(_until(Programme().epoch(20.0, gop=gop), 11.4))
    text = manifest_of(window)
    newest = timeline(read_mpd(text))[-1]
    [ahead, _] = [float(value) for value in re.findall('availabilityTimeOffset="([0-9.]+)"', text)]
    began = window.windows[1].newest
    assert began is not None
    assert not began.closed
    held = newest.end_seconds - newest.start / newest.timescale
    if held < 2.0:
        assert abs(held - ahead - (began.track.chunk_seconds or CHUNK_SECONDS)) < 0.002
    else:  # it had more by then, and could be had all the time
        assert newest.end_seconds - ahead < began.end_seconds


def test_an_ended_presentation_is_static_and_whole() -> None:
    """The last segment with all that came of it, be that shorter than a part; nothing is to be awaited."""
    for seconds in (4.3, 4.06):
        entries = _until(Programme().epoch(8.0), seconds)
        window = window_of(entries)
        window.take(StateChange(StreamState.ENDED, "over"))
        found = read_mpd(manifest_of(window))
        assert found.ended
        for track in (1, 2):
            chunks = [each for each in entries if isinstance(each, Chunk) and each.id.track == track and each.samples]
            end = chunks[-1].decode_time + chunks[-1].duration
            last = timeline(found, track)[-1]
            assert (last.start + last.duration, last.duration) == (end, end - chunks_of_last(chunks)[0].decode_time)


def chunks_of_last(chunks: list[Chunk]) -> list[Chunk]:
    return [chunk for chunk in chunks if chunk.id.segment == chunks[-1].id.segment]


def test_only_what_begins_with_a_keyframe_says_so() -> None:
    """Where keyframes are further apart than a segment may be long, startWithSAP would be untrue of pictures."""
    for gop, count in ((50, 2), (200, 1)):
        text = manifest_of(window_of(Programme().epoch(20.0, gop=gop)))
        assert text.count('startWithSAP="1"') == count
        video_set = text.split("<AdaptationSet")[1]
        assert ('startWithSAP="1"' in video_set) == (count == 2)


def test_what_was_lost_is_left_out() -> None:
    """The timeline goes on after it with the next segment's own time."""
    entries = Programme().epoch(12.0)
    kept = [e for e in entries if not isinstance(e, Chunk) or e.id.track != 1 or e.id.segment not in {102, 103}]
    starts = [one.start / one.timescale - BEGIN_SECONDS for one in timeline(read_mpd(manifest_of(window_of(kept))))]
    assert starts == [0, 2, 8, 10]


def test_a_publisher_that_went_away_takes_nothing_back() -> None:
    """Its last segment is told with what was told of it, until something follows."""
    programme = Programme()
    window = window_of(programme.epoch(4.2))
    last = timeline(read_mpd(manifest_of(window)))[-1]
    assert 1.5 < last.duration / last.timescale < 2.0
    window_of(programme.epoch(4.0), window)
    first, second = read_mpd(manifest_of(window)).periods
    assert round(first[1][-1].duration / last.timescale, 3) == 0.2
    assert second[1][0].start > last.start


def test_edges_that_hear_the_end_tell_the_same() -> None:
    """One from the beginning, another with the state that comes to who joins late."""
    entries = _until(Programme().epoch(8.0), 5.3)
    early = window_of(entries)
    early.take(StateChange(StreamState.ENDED, "over"))
    broadcast = Broadcast(StreamName("demo"))
    for entry in entries:
        if isinstance(entry, Opened):
            broadcast.open(entry.epoch, entry.tracks)
        else:
            broadcast.append(entry)
    broadcast.set_state(StreamState.ENDED, "over")
    late = Window()
    for each in broadcast.read(broadcast.replay()):
        late.take(each)
    assert manifest_of(early) == manifest_of(late)


def test_a_sound_alone_has_a_manifest() -> None:
    """As a picture alone has."""
    for tracks in ((audio(),), (video(),)):
        assert len(read_mpd(manifest_of(window_of(Programme().epoch(6.0, tracks=tracks)))).periods[0]) == 1


def _until(entries: list[Opened | Chunk], seconds: float) -> list[Opened | Chunk]:
    times = {1: 90_000, 2: 48_000}
    limit = BEGIN_SECONDS + seconds
    return [
        entry
        for entry in entries
        if isinstance(entry, Opened) or entry.decode_time / times[entry.id.track] < limit - 1e-6
    ]
