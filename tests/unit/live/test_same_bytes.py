"""Playlists that end at the same part are the same bytes, whatever else came to an edge, and when."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.media.playlists import REPORT_BEHIND_SECONDS, MediaView, media_playlist
from headrace.media.segments import part_target
from headrace.relay.broadcast import Opened
from headrace.relay.window import Window
from headrace.wire.chunk import Chunk
from unit.live.streams import Programme, audio, video, window_of

Entry = Opened | Chunk
Cut = tuple[int, int, int, bool]
"""Track, last segment listed, its parts, and whether it is whole."""

TRACKS = {
    "both": (video(), audio()),
    "slow": (video(5.0), audio()),
    "any rate": (video(0.0), audio()),
    "three": (video(30000 / 1001), audio(), audio(3, "de")),
    "sound": (audio(),),
    "picture": (video(50.0),),
}

REPORT = re.compile(r'#EXT-X-RENDITION-REPORT:URI="(\d+)\.m3u8",LAST-MSN=(\d+),LAST-PART=(\d+)')


def mixed(epoch: list[Entry], rng: random.Random) -> list[Entry]:
    """Return an epoch with its tracks interleaved otherwise: each in its order, one perhaps long after the others."""
    numbers = sorted({entry.id.track for entry in epoch if isinstance(entry, Chunk)})
    queues = [[e for e in epoch if isinstance(e, Chunk) and e.id.track == number] for number in numbers]
    weights = [rng.choice([1, 1, 30]) for _ in queues]
    out: list[Entry] = [entry for entry in epoch if isinstance(entry, Opened)]
    while any(queues):
        [queue] = rng.choices(queues, [weight * bool(queue) for queue, weight in zip(queues, weights, strict=True)])
        out.append(queue.pop(0))
    return out


def told(entries: list[Entry]) -> dict[Cut, set[str]]:
    """Return all that an edge says to which `entries` come, by where it ends; asked after each of them."""
    window = Window()
    texts: dict[Cut, set[str]] = {}
    versions: dict[int, int] = {}
    for entry in entries:
        window.take(entry)
        for number, each in window.windows.items():
            if versions.get(number) == each.version and not isinstance(entry, Opened):
                continue
            versions[number] = each.version
            listed = each.listed(window.limits.seconds)
            if listed:
                last = listed[-1]
                cut = (number, last.number, last.parts_listed, last.closed)
                texts.setdefault(cut, set()).add(media_playlist(MediaView(listed, False, window.epochs)))
    return texts


@settings(max_examples=40, deadline=None)
@given(
    epochs=st.lists(
        st.tuples(
            st.floats(0.3, 14.0),
            st.integers(5, 120),
            st.sampled_from(sorted(TRACKS)),
            st.integers(0, 2),
            st.sampled_from([range(0), range(20, 40), range(62, 80), range(120, 260)]),
        ),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 2**32),
)
def test_edges_tell_the_same_at_the_same_cut(epochs: list[tuple[float, int, str, int, range]], seed: int) -> None:
    """Tracks come in any order, epochs have other tracks than the one before, numbers and pictures are left out."""
    programme, rng = Programme(), random.Random(seed)
    orders: list[list[Entry]] = [[], [], []]
    for seconds, gop, tracks, left_out, hole in epochs:
        epoch = programme.epoch(seconds, gop=gop, frame_rate=25.0, tracks=TRACKS[tracks], leave_out=hole)
        programme.segment += left_out
        orders[0] += epoch
        orders[1] += mixed(epoch, rng)
        orders[2] += mixed(epoch, rng)
    seen: dict[Cut, set[str]] = {}
    for order in orders:
        for cut, texts in told(order).items():
            seen.setdefault(cut, set()).update(texts)
    assert all(len(texts) == 1 for texts in seen.values()), [cut for cut, texts in seen.items() if len(texts) > 1]


@settings(max_examples=30, deadline=None)
@given(
    seconds=st.floats(1.0, 14.0),
    gop=st.integers(5, 200),
    tracks=st.sampled_from(["both", "slow", "any rate", "three"]),
    rate=st.sampled_from([5.0, 12.5, 25.0, 30000 / 1001, 60.0]),
)
def test_what_is_reported_is_there(seconds: float, gop: int, tracks: str, rate: float) -> None:
    """Every part that a report names exists in that track, and lies no more than two parts before it might."""
    epoch = Programme().epoch(seconds, gop=gop, frame_rate=rate, tracks=TRACKS[tracks])
    whole = window_of(epoch)
    count = 0
    for (number, last, _, _), texts in told(epoch).items():
        for text in texts:
            segment = whole.windows[number].segments[last]
            for track, msn, part in re.findall(REPORT, text):
                count += 1
                assert int(track) != number
                other = whole.windows[int(track)].segments[int(msn)]
                assert int(part) < len(other.parts), (number, last, track, msn, part)
                end = other.parts[int(part)].start + other.parts[int(part)].duration
                behind = segment.start_seconds - end / other.track.timescale
                assert behind < REPORT_BEHIND_SECONDS + 2 * part_target(other.track) + 0.1
    assert count or seconds < REPORT_BEHIND_SECONDS + 2.1


@pytest.mark.parametrize("rate", [5.0, 12.5, 25.0, 30000 / 1001, 60.0])
def test_a_report_is_true_and_near(rate: float) -> None:
    """What it names has come when it is told, and seldom more than one part after that."""
    window, versions, behind = Window(), dict[int, int](), list[int]()
    for entry in Programme().epoch(20.0, gop=round(2 * rate), frame_rate=rate):
        window.take(entry)
        for number, track in window.windows.items():
            listed = track.listed(60.0)
            if versions.get(number) == track.version or not listed:
                continue
            versions[number] = track.version
            for name, msn, part in REPORT.findall(media_playlist(MediaView(listed, False, window.epochs))):
                other = window.windows[int(name)]
                assert other.has(int(msn), int(part)), (number, name, msn, part)
                come = [(one.number, each.number) for one in other.segments.values() for each in one.parts]
                behind.append(len(come) - 1 - come.index((int(msn), int(part))))
    assert len(behind) > 50
    assert max(behind) <= 3
    assert sum(behind) / len(behind) < 2


def test_a_report_is_of_the_tracks_that_were_there() -> None:
    """An edge that knows of the next epoch, which lacks a track, reports it where its playlist ends before that."""
    programme = Programme()
    first, second = programme.epoch(8.0), programme.epoch(4.0, tracks=TRACKS["picture"])
    known = {cut: texts for cut, texts in told(first + second[:1]).items() if cut[0] == 1}
    assert [len(texts) for texts in known.values()] == [1] * len(known)
    reported = {match[1] for [text] in known.values() if (match := REPORT.search(text))}
    assert reported == {"2"}
    told_after = [text for cut, texts in told(first + second).items() if cut[0] == 1 and cut[1] > 103 for text in texts]
    assert told_after
    assert not any(REPORT.search(text) for text in told_after)


@settings(max_examples=10, deadline=None)
@given(seconds=st.floats(3.0, 14.0), gop=st.integers(10, 200), rate=st.sampled_from([12.5, 25.0, 30000 / 1001, 60.0]))
def test_what_is_asked_for_decides_where_a_playlist_ends(seconds: float, gop: int, rate: float) -> None:
    """Asked for a part when it has come, or with more of the media there already: the same text, part by part."""
    first = Programme()
    entries = first.epoch(seconds, gop=gop, frame_rate=rate) + first.epoch(3.0)
    window, answers = Window(), dict[tuple[int, int, int], str]()
    compared = 0
    for entry in entries:
        window.take(entry)
        for number, track in window.windows.items():
            newest = track.newest
            places = () if newest is None else [(newest.number, part) for part in range(14)]
            for segment, part in [*places, *(asked[1:] for asked in answers if asked[0] == number)]:
                last = track.end_with(segment, part) if track.has(segment, part) else None
                if last is None:
                    continue
                text = media_playlist(MediaView(track.listed(60.0, last), False, window.epochs))
                compared += (number, segment, part) in answers
                assert answers.setdefault((number, segment, part), text) == text, (number, segment, part)
    assert compared > 100


def test_what_is_asked_for_is_what_a_playlist_ends_with() -> None:
    """That part, the next segment's first where the segment had fewer, the whole segment where no part was named."""
    window = window_of(Programme().epoch(9.0))
    track = window.windows[1]
    for asked, end in [((103, 1), (103, 2)), ((103, 4), (103, None)), ((103, 9), (104, 1)), ((103, None), (103, None))]:
        last = track.end_with(*asked)
        assert last is not None
        assert (last.number, None if last.closed else len(last.parts)) == end, asked
    assert track.end_with(101, 1) is None  # long past: its parts are not listed any more
    assert track.end_with(104, 9) is None  # to come
