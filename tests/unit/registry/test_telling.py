"""What is told at once, what waits, and that all together stays bounded."""

from __future__ import annotations

import msgspec
import pytest

from headrace.registry.kept import Kept
from headrace.registry.leases import EDGES_FOLLOWED
from headrace.registry.records import LAYER_MAX, NodeRecord, StreamRecord
from headrace.registry.telling import (
    TOLD_BYTES_PER_SECOND,
    TOLD_PER_SECOND,
    WAIT_MIN_SECONDS,
    WHOLE_READERS,
    Urgency,
    urgency,
    wait_seconds,
)

NODE = NodeRecord(node="n1", role="intermediate", layer=1, load=0.5)
STREAM = StreamRecord(stream="cam1", node="n1", epoch=5, state="live", next_segment=3)


@pytest.mark.parametrize(
    ("changes", "how"),
    [
        ({"load": 0.6}, Urgency.SOON),
        ({"streams": ("cam1",), "children": 4}, Urgency.SOON),
        ({"load": 1.0}, Urgency.NOW),
        ({"draining": True}, Urgency.NOW),
        ({"relay_url": "ws://x/relay"}, Urgency.NOW),
    ],
)
def test_nodes(changes: dict[str, object], how: Urgency) -> None:
    """What only helps to choose waits; what others act on does not."""
    assert urgency(NODE, msgspec.structs.replace(NODE, **changes)) is how
    assert urgency(None, NODE) is Urgency.NOW


def test_streams() -> None:
    """Numbers are written at once and told later; a state or an epoch is told at once."""
    assert urgency(STREAM, msgspec.structs.replace(STREAM, next_segment=4, end_seconds=8.0)) is Urgency.QUIET
    assert urgency(STREAM, msgspec.structs.replace(STREAM, state="interrupted")) is Urgency.NOW
    assert urgency(STREAM, msgspec.structs.replace(STREAM, epoch=6)) is Urgency.NOW


@pytest.mark.parametrize("edges", [10, 1_000, 10_000, 20_000])
def test_talk_is_bounded(edges: int) -> None:
    """Were every node to change all the time, the store would be told and tell no more than the bounds."""
    core, size = 25, 1000
    for record, tellers, hear in (
        (NODE, core, core + edges),
        (
            NodeRecord(node="e", role="edge", layer=LAYER_MAX),
            edges,
            edges if edges <= EDGES_FOLLOWED else WHOLE_READERS,
        ),
    ):
        wait = wait_seconds(record, size, core, edges)
        assert wait >= WAIT_MIN_SECONDS
        assert tellers / wait <= TOLD_PER_SECOND
        assert tellers * hear * size / wait <= TOLD_BYTES_PER_SECOND


def test_what_waits_is_told_when_due() -> None:
    """A change that can wait is held back, says when it is due, and the last one is told; a flush waits for nothing."""
    kept = Kept("holder")
    key = kept.keep(NODE)
    assert key is not None
    assert len(kept.take_unsent(100.0, lambda record, size: 5.0)) == 1
    for load in (0.6, 0.7):
        kept.keep(msgspec.structs.replace(NODE, load=load))
        assert kept.take_unsent(101.0, lambda record, size: 5.0) == []
        assert kept.due_at == 105.0
    taken = kept.take_unsent(105.0, lambda record, size: 5.0)
    assert [b'"load":0.7' in lease.record for lease in taken] == [True]
    assert kept.due_at is None
    kept.send_again([key])
    assert len(kept.take_unsent(105.1, lambda record, size: 5.0)) == 1


def test_numbers_are_written_quietly() -> None:
    """A stream's numbers reach the store with each segment, others with the next telling."""
    kept = Kept("holder")
    kept.keep(STREAM)
    told = []
    for number in range(6):
        kept.keep(msgspec.structs.replace(STREAM, next_segment=10 + number))
        told += [lease.told for lease in kept.take_unsent(100.0 + number, lambda record, size: 3.0)]
    assert told == [True, False, False, True, False, False]
