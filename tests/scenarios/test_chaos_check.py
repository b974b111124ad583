"""The check of the fault tests finds what it is there for, and nothing else."""

from __future__ import annotations

import struct

import pytest

from chaos.identity import HEADER, Check, Identity, LinkCheck, missing_between, read_identity
from chaos.measuring import Row, percentile, who_serves
from chaos.memory import Life, slope
from chaos.report import line, table
from chaos.scraping import grown


def chunk(segment: int, number: int, *, end: bool = False, epoch: int = 1, track: int = 1) -> Identity:
    return Identity(track, (epoch, segment, number), end, 0, 100)


def checked(*identities: Identity) -> Check:
    check, link = Check(), LinkCheck()
    for now, identity in enumerate(identities):
        check.take(link, identity, float(now))
    return check


def test_a_record_is_read_by_the_published_layout() -> None:
    """Track, epoch, segment, chunk, flags and capture time stand where docs/protocol.md, 2.2 says."""
    record = HEADER.pack(1, 2, 4, 0, 7, 11, 13, 0, 0, 0, 0, 99) + b"media"
    assert read_identity(record) == Identity(2, (11, 13, 7), True, 99, 53)


@pytest.mark.parametrize("record", [b"", b"\x01" * 47, struct.pack(">B", 2) + bytes(60)])
def test_what_is_no_record_is_refused(record: bytes) -> None:
    """Too short, or of another kind."""
    with pytest.raises(ValueError, match="no chunk record"):
        read_identity(record)


def test_an_unbroken_row_is_fine() -> None:
    """Within a segment, into the next, and into a new epoch whose ingress could not close the last segment."""
    figures = checked(
        chunk(1, 0), chunk(1, 1, end=True), chunk(2, 0), chunk(2, 1), chunk(3, 0, epoch=2), chunk(3, 1, epoch=2)
    ).figures
    assert (figures.chunks, figures.lost, figures.duplicated, figures.pause) == (6, 0, 0, 1.0)


@pytest.mark.parametrize(
    ("last", "next", "missing"),
    [
        (chunk(1, 0), chunk(1, 2), 1),
        (chunk(1, 0), chunk(2, 0), 1),
        (chunk(1, 3, end=True), chunk(2, 2), 2),
        (chunk(1, 3, end=True), chunk(4, 0), 2),
        (chunk(1, 3), chunk(2, 1, epoch=2), 1),
        (chunk(1, 3), chunk(3, 0, epoch=2), 1),
    ],
)
def test_what_is_missing_is_counted(last: Identity, next: Identity, missing: int) -> None:
    """Chunks, ends of segments, whole segments, also between epochs."""
    assert missing_between(last, next) == missing
    assert checked(last, next).figures.lost == missing


def test_a_chunk_that_comes_twice_by_one_connection_is_counted() -> None:
    """So is one that comes too late: order is not kept."""
    assert checked(chunk(1, 0), chunk(1, 0)).figures.duplicated == 1
    assert checked(chunk(1, 0), chunk(1, 1), chunk(1, 0)).figures.duplicated == 1


def test_a_connection_must_not_send_what_it_was_told_is_had() -> None:
    """A viewer that comes back with `after` gets nothing up to there."""
    check = checked(chunk(1, 0), chunk(1, 1))
    again = LinkCheck.after(check)
    check.take(again, chunk(1, 1), 3.0)
    assert check.figures.duplicated == 1


def test_two_edges_may_overlap_while_a_viewer_moves() -> None:
    """The second sends what was not had when it was asked; that the first sent it meanwhile costs bytes only."""
    check, first = Check(), LinkCheck()
    check.take(first, chunk(1, 0), 0.0)
    second = LinkCheck.after(check)
    check.take(first, chunk(1, 1), 1.0)
    assert not check.take(second, chunk(1, 1), 1.0)
    assert (check.figures.duplicated, check.figures.lost, check.figures.extra_bytes) == (0, 0, 100)


def test_pauses_are_those_of_a_track() -> None:
    """Sound that goes on does not hide that the picture stands still, and a new count begins with the last chunk."""
    check, link = Check(), LinkCheck()
    check.take(link, chunk(1, 0), 0.0)
    for number in range(5):
        check.take(link, chunk(1, number, track=2), float(number))
    check.begin()
    check.take(link, chunk(1, 1), 5.0)
    assert check.figures.pause == 5.0
    assert check.silence(6.0) == 2.0


def test_percentiles_leave_no_bad_viewer_out() -> None:
    """The 99th of thirty is the worst of them."""
    pauses = [float(pause) for pause in range(1, 31)]
    assert (percentile(pauses, 0.5), percentile(pauses, 0.99), percentile(pauses, 1.0)) == (15.0, 30.0, 30.0)


def test_a_counter_of_a_restarted_process_begins_anew() -> None:
    """What it counted before it died is not taken off."""
    before = {"process_start_time_seconds": 1.0, "moves": 5.0}
    assert grown(before, {"process_start_time_seconds": 1.0, "moves": 7.0}, "moves") == 2
    assert grown(before, {"process_start_time_seconds": 2.0, "moves": 7.0}, "moves") == 7


@pytest.mark.parametrize(
    ("serving", "victim"),
    [({"mid-2-1": 3, "mid-1-1": 9}, "mid-2-1"), ({"mid-1-1": 9, "mid-1-2": 2}, "mid-1-1"), ({}, "mid-2-1")],
    ids=["it serves", "another layer serves", "none serves"],
)
def test_a_fault_is_done_to_somebody_who_serves(serving: dict[str, int], victim: str) -> None:
    """To the chosen one if it does, else to the busiest of its role, for its layer may have been gone past."""
    assert who_serves("mid-2-1", ["mid-1-1", "mid-1-2", "mid-2-1", "mid-2-2"], serving) == victim


def test_moves_that_nobody_lived_to_count_are_not_told_as_none() -> None:
    """Counters of nodes that were all started again say nothing."""
    counted, restarted = Row("a", "mixed", moves=2), Row("b", "mixed", moves_counted=False)
    assert "| 2 | 0 |" in table([counted])
    assert "| – | – | – |" in table([restarted])
    assert "nodes –, viewers" in line(restarted)


def test_the_slope_of_memory_is_for_an_hour() -> None:
    """One MiB a minute is sixty an hour."""
    assert slope([(60.0 * minute, 100.0 + minute) for minute in range(10)]) == pytest.approx(60.0)


@pytest.mark.parametrize(("leak", "growth"), [(0.0, 0.0), (0.1, 4.0 / 101.5)])
def test_growth_is_from_the_second_sixth_to_the_last(leak: float, growth: float) -> None:
    """MiB a minute; what happens at the beginning, and single peaks, do not count."""
    sizes = [(10.0 * n, 100.0 + leak * n / 6 + (50 if n < 60 or n == 350 else 0)) for n in range(361)]
    assert Life("edge-1", 1, sizes).growth(3600.0) == pytest.approx(growth, abs=1e-3)


def test_a_process_that_did_not_live_through_it_all_is_not_judged() -> None:
    """It was ended and started again by a fault."""
    assert Life("edge-1", 1, [(10.0 * n, 100.0) for n in range(60, 300)]).growth(3600.0) is None
