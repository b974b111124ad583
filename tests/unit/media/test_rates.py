"""What is declared of tracks, against what they take."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import ChunkId, Epoch
from headrace.media.declaration import declare
from headrace.media.rates import HEADROOM, LOW, REMEMBERED_SEGMENTS, Rates
from headrace.media.samples import PackagerOptions
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import Track
from support.tracks import audio_track, video_track

SECONDS = 2.0


def declared(track: Track, rate: int = 0) -> Track:
    return declare(msgspec.structs.replace(track, bandwidth=rate, average_bandwidth=0), PackagerOptions(), 0)


class Stream:
    """A stream whose tracks take so many bits a second, segment by segment.

    Attributes:
        tracks: as declared last, by number.
        told: how often that was after an epoch had begun.
    """

    def __init__(self) -> None:
        self.rates = Rates()
        self.tracks: dict[int, Track] = {}
        self.told = 0
        self._epoch = Epoch(0)
        self._segment = 0

    def begin(self, *tracks: Track) -> None:
        self._epoch = Epoch(self._epoch + 1)
        self.tracks = {track.track: track for track in self.rates.begin(self._epoch, tracks)}

    def segment(self, track: int, rate: float, seconds: float = SECONDS) -> None:
        """Two chunks of media, and an empty one that ends it."""
        self._segment += 1
        half = round(rate * seconds / 8) // 2
        for number, (size, share) in enumerate(((half, 0.5), (half, 0.5), (0, 0.0))):
            self._take(track, number, size, share * seconds)

    def _take(self, track: int, number: int, size: int, seconds: float) -> None:
        flags = Flag.END_OF_SEGMENT if not size else Flag(0)
        ticks = round(seconds * self.tracks[track].timescale)
        id = ChunkId(self._epoch, track, self._segment, number)
        chunk: Chunk = make_chunk(id, flags, 0, ticks, 0, 1 if size else 0, 0, b"m" * size)
        found = self.rates.take(chunk)
        if found is not None:
            self.told += 1
            self.tracks = {each.track: each for each in found}


def test_what_a_source_says_is_corrected_by_its_first_segment() -> None:
    """Far too little, far too much, and nothing at all; of each track by itself."""
    for said in (264_000, 0, 9_000_000):
        stream = Stream()
        stream.begin(declared(video_track(), said), declared(audio_track(), 64_000))
        stream.segment(1, 700_000)
        stream.segment(2, 32_000)
        video, audio = stream.tracks[1], stream.tracks[2]
        assert (video.bandwidth, video.average_bandwidth) == (770_000, 700_000), said
        assert (audio.bandwidth, audio.average_bandwidth) == (36_000, 32_000)
        assert stream.told == 2


def test_what_is_right_is_left_alone() -> None:
    """Rates that rise and fall by less than the headroom are told once."""
    stream = Stream()
    stream.begin(declared(video_track()))
    for number in range(500):
        stream.segment(1, 700_000 + 50_000 * (number % 2))
    assert stream.told <= 2
    assert stream.tracks[1].bandwidth >= 750_000


def test_a_busy_scene_is_told_with_its_first_segment() -> None:
    """What is declared is exceeded by no segment but the one that shows it."""
    stream = Stream()
    stream.begin(declared(video_track()))
    stream.segment(1, 700_000)
    stream.segment(1, 2_000_000)
    assert stream.tracks[1].bandwidth == 2_200_000


def test_a_calm_hour_is_told_after_a_while() -> None:
    """Not before it is seen in all that is remembered, and then once."""
    stream = Stream()
    stream.begin(declared(video_track()))
    stream.segment(1, 2_000_000)
    for _ in range(REMEMBERED_SEGMENTS - 1):
        stream.segment(1, 500_000)
    assert stream.tracks[1].bandwidth == 2_200_000
    for _ in range(10):
        stream.segment(1, 500_000)
    assert (stream.tracks[1].bandwidth, stream.tracks[1].average_bandwidth) == (550_000, 500_000)


def test_the_next_epoch_begins_with_what_is_known() -> None:
    """Of tracks that are like those before; others begin with what is said of them."""
    stream = Stream()
    stream.begin(declared(video_track()), declared(audio_track()))
    stream.segment(1, 700_000)
    stream.segment(2, 32_000)
    before = dict(stream.tracks)
    larger = declared(video_track(width=1920, height=1080))
    stream.begin(larger, declared(audio_track()))
    assert (stream.tracks[1], stream.tracks[2].bandwidth) == (larger, before[2].bandwidth)
    stream.segment(2, 32_000)
    assert stream.told == 2


def test_the_rest_of_an_epoch_says_nothing() -> None:
    """A keyframe by itself has ten times the rate of what follows it."""
    stream = Stream()
    stream.begin(declared(video_track()))
    stream.segment(1, 700_000)
    stream.segment(1, 7_000_000, seconds=0.2)
    assert stream.tracks[1].bandwidth == 770_000


@given(st.lists(st.integers(10_000, 50_000_000), min_size=1, max_size=200))
def test_what_is_declared_holds(rates: list[int]) -> None:
    """After any segments the declared peak covers all that are remembered, and is not far above what they took."""
    stream = Stream()
    stream.begin(declared(video_track()))
    for rate in rates:
        stream.segment(1, rate, seconds=1.0)
    track, last = stream.tracks[1], rates[-REMEMBERED_SEGMENTS:]
    assert track.bandwidth * 1.01 >= max(last)
    assert track.average_bandwidth * HEADROOM * 1.01 + 1000 >= sum(last) / len(last)
    if len(rates) > 2 * REMEMBERED_SEGMENTS:
        assert track.bandwidth <= max(rates) * HEADROOM * LOW + 1000
