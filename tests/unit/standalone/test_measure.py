"""What a probe finds out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.identifiers import ChunkId, Epoch
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import Track
from headrace_standalone.probe.measure import Continuity, EdgeClock, Measurement, percentile


def chunk(
    segment: int, number: int, *, ends: bool = False, epoch: int = 1, track: int = 1, capture_us: int = 0
) -> Chunk:
    """Return a chunk of ten bytes of media."""
    flags = Flag.END_OF_SEGMENT if ends else Flag(0)
    return make_chunk(ChunkId(Epoch(epoch), track, segment, number), flags, 0, 1, 0, 1, capture_us, b"0123456789")


STREAM = [chunk(s, n, ends=n == 3, epoch=1 + s // 4) for s in range(8) for n in range(4)]
"""Eight segments of four chunks, the last four in another epoch."""


def test_stream_without_holes_has_nothing_missing() -> None:
    """Segments and epochs that follow each other are no gaps, wherever one joins."""
    continuity = Continuity()
    assert [continuity.add(chunk) for chunk in STREAM[5:]] == [None] * len(STREAM[5:])
    assert (continuity.chunks, continuity.missing, continuity.duplicates) == (len(STREAM) - 5, 0, 0)


@pytest.mark.parametrize(
    ("lost", "at_least"),
    [((5,), 1), ((5, 6), 2), ((7,), 1), ((8,), 1), ((6, 7, 8), 2), (tuple(range(5, 14)), 4), ((15,), 0), ((16,), 1)],
)
def test_lost_chunks_are_seen(lost: tuple[int, ...], at_least: int) -> None:
    """Whatever is lost is noticed; only the end of an epoch that an ingress could not close looks whole."""
    continuity = Continuity()
    told = [continuity.add(chunk) for index, chunk in enumerate(STREAM) if index not in lost]
    assert continuity.missing >= at_least
    assert continuity.missing <= len(lost)
    assert sum(missing is not None for missing in told) == (1 if at_least else 0)


def test_missing_names_its_neighbours() -> None:
    """A hole is told by the identities around it."""
    continuity = Continuity()
    continuity.add(chunk(5, 0))
    missing = continuity.add(chunk(5, 3))
    assert missing is not None
    assert str(missing) == "1/1/5.0 .. 1/1/5.3 (2 or more)"


def test_chunks_had_already_are_duplicates() -> None:
    """A chunk that comes again, or too late, is counted and changes nothing else."""
    continuity = Continuity()
    for number in (0, 1, 1, 0, 2):
        continuity.add(chunk(5, number))
    assert (continuity.chunks, continuity.duplicates, continuity.missing) == (3, 2, 0)


def test_announced_gap_counts_once() -> None:
    """What the edge says will not come is missing; the chunk after it is expected then."""
    continuity = Continuity()
    continuity.add(chunk(5, 0))
    missing = continuity.announce(ChunkId(Epoch(1), 1, 5, 4))
    assert missing is not None
    assert (missing.chunks, missing.told) == (3, True)
    assert continuity.add(chunk(5, 4)) is None
    assert continuity.missing == 3


def test_announced_gap_of_nothing_is_none() -> None:
    """An announcement of the chunk that was due, or had, says that nothing is missing."""
    continuity = Continuity()
    continuity.add(chunk(5, 0))
    assert continuity.announce(ChunkId(Epoch(1), 1, 5, 1)) is None
    assert continuity.announce(ChunkId(Epoch(1), 1, 5, 0)) is None
    assert continuity.add(chunk(5, 1)) is None


@given(st.lists(st.integers(0, len(STREAM) - 1), max_size=80))
def test_any_order_of_chunks_is_counted(order: list[int]) -> None:
    """Each chunk given is either new or a duplicate, whatever comes when."""
    continuity = Continuity()
    for index in order:
        continuity.add(STREAM[index])
    assert continuity.chunks + continuity.duplicates == len(order)


def test_latency_is_read_on_the_edges_clock() -> None:
    """Our clock is a second behind the edge's: latency is not off by it."""
    measurement = Measurement(began=0.0)
    measurement.clock.add(sent_us=10_000_000, edge_us=11_001_000, received_us=10_002_000)
    measurement.add(chunk(1, 0, capture_us=10_900_000), now=1.0, utc_us=10_000_000)
    assert measurement.latency()["p50"] == 100.0


def test_what_was_captured_before_joining_is_no_latency() -> None:
    """A viewer begins at a random access point of the past: that is not the network's doing."""
    measurement = Measurement(began=0.0)
    measurement.join(utc_us=5_000_000)
    measurement.add(chunk(1, 0, capture_us=4_000_000), now=0.1, utc_us=5_100_000)
    measurement.add(chunk(1, 1, capture_us=5_050_000), now=0.1, utc_us=5_100_000)
    assert measurement.latency()["max"] == 50.0


def test_clock_believes_the_shortest_round_trip() -> None:
    """An exchange that was held up on one way says little: the quickest recent one counts."""
    clock = EdgeClock()
    assert clock.offset_us == 0
    clock.add(0, 500 + 1_000_000, 1_000)
    clock.add(0, 90_000 + 1_000_000, 100_000)
    assert (clock.offset_us, clock.round_trip_us) == (1_000_000, 1_000)


def test_bitrate_pauses_and_where_to_go_on() -> None:
    """Bitrates are of the last seconds, the longest pause is kept, and `after` is the last chunk of each track."""
    measurement = Measurement(began=0.0)
    assert measurement.after() is None
    measurement.open([Track(track=1, kind="video", codec="avc1.64001f", timescale=90000, header=b"x")])
    for number in range(10):
        measurement.add(chunk(1, number), now=10 + number * 0.1, utc_us=0)
    measurement.add(chunk(7, 0, track=2), now=12.0, utc_us=0)
    assert measurement.after() == {1: (1, 1, 9), 2: (1, 7, 0)}
    summary = measurement.summary(now=12.0)
    assert summary["longest_pause_ms"] == 1100.0
    assert summary["tracks"]["1"]["bits_per_second"] == round(8 * 10 * 58 / 5)
    assert summary["tracks"]["1"]["codec"] == "avc1.64001f"
    assert (summary["chunks"], summary["missing"]) == (11, 0)
    assert measurement.summary(now=30.0)["tracks"]["1"]["bits_per_second"] == 0


def test_percentile_of_nothing_is_unknown() -> None:
    """There is no figure where nothing was measured."""
    assert percentile([], 0.5) is None
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 1.0) == 3.0
