"""The hub: streams by name, who wants which, and when they are fetched or let go."""

from __future__ import annotations

import pytest

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay import hub as hub_module
from headrace.relay.hub import Hub, TooManyStreams
from unit.relay.streams import VIDEO, video

CAM = StreamName("cam1")


def watched_hub() -> tuple[Hub, list[tuple[str, int]]]:
    """Return a hub and the calls of its `on_demand`."""
    hub = Hub()
    calls: list[tuple[str, int]] = []
    hub.on_demand = lambda name, count: calls.append((name, count))
    return hub, calls


def test_the_first_demand_and_the_last_release_are_told() -> None:
    """Those between are not."""
    hub, calls = watched_hub()
    first, second = hub.demand(CAM), hub.demand(CAM)
    assert first.broadcast is second.broadcast
    assert (hub.demands(CAM), hub.demands_total) == (2, 2)
    first.release()
    first.release()
    assert calls == [(CAM, 1)]
    second.release()
    assert calls == [(CAM, 1), (CAM, 0)]
    assert hub.demands_total == 0


def test_a_stream_produced_here_is_not_fetched() -> None:
    """Its source is in this process."""
    hub, calls = watched_hub()
    broadcast = hub.produce(CAM)
    demand = hub.demand(CAM)
    assert demand.broadcast is broadcast
    assert hub.produced(CAM)
    demand.release()
    assert calls == []


def test_a_stream_that_is_let_go_holds_no_memory() -> None:
    """Whoever fetched or read it may keep the broadcast for a while; its ring goes at once."""
    hub, _ = watched_hub()
    demand = hub.demand(CAM)
    broadcast = demand.broadcast
    broadcast.open(Epoch(1), (VIDEO,))
    for number in range(10):
        broadcast.append(video(number))
    assert broadcast.bytes > 0
    demand.release()
    hub.forget(CAM)
    assert CAM not in hub.streams
    assert (broadcast.bytes, broadcast.reach_seconds) == (0, 0.0)
    assert broadcast.read(broadcast.replay()) == [broadcast.state]
    assert hub.demand(CAM).broadcast is not broadcast


def test_a_source_that_comes_to_waiting_consumers_ends_the_fetching() -> None:
    """They keep the broadcast they have."""
    hub, calls = watched_hub()
    demand = hub.demand(CAM)
    assert hub.produce(CAM) is demand.broadcast
    assert hub.produce(CAM) is demand.broadcast
    demand.release()
    assert calls == [(CAM, 1), (CAM, 0)]


def test_a_source_that_goes_leaves_its_consumers_to_be_fetched_for() -> None:
    """Somebody else may produce it now; without consumers it is gone."""
    hub, calls = watched_hub()
    hub.produce(CAM)
    demand = hub.demand(CAM)
    hub.retire(CAM)
    assert calls == [(CAM, 1)]
    assert CAM in hub.streams
    demand.release()
    hub.forget(CAM)
    assert CAM not in hub.streams
    hub.produce(CAM)
    hub.retire(CAM)
    hub.retire(CAM)
    assert CAM not in hub.streams


def test_a_stream_that_somebody_wants_is_not_forgotten() -> None:
    """Nor one that is produced here."""
    hub, _ = watched_hub()
    hub.demand(CAM)
    hub.forget(CAM)
    other = StreamName("cam2")
    hub.produce(other)
    hub.forget(other)
    assert set(hub.streams) == {CAM, other}
    hub.forget(StreamName("unknown"))


def test_streams_that_come_and_go_are_told() -> None:
    """Also to a listener that leaves while it is told."""
    hub, _ = watched_hub()
    seen: list[set[str]] = []

    def once() -> None:
        hub.on_streams.discard(once)

    hub.on_streams |= {once, lambda: seen.append(set(hub.streams))}
    demand = hub.demand(CAM)
    hub.demand(CAM)
    demand.release()
    hub.produce(StreamName("cam2"))
    hub.retire(StreamName("cam2"))
    assert seen == [{CAM}, {CAM, "cam2"}, {CAM}]


def test_there_are_only_so_many_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name is made by anybody who asks for it."""
    monkeypatch.setattr(hub_module, "STREAMS_MAX", 3)
    hub, _ = watched_hub()
    for number in range(3):
        hub.demand(StreamName(f"cam{number}"))
    with pytest.raises(TooManyStreams, match="3 streams"):
        hub.demand(StreamName("one more"))
    hub.demand(StreamName("cam0"))


def test_one_who_demands_for_many_counts_as_many() -> None:
    """What a node tells of its load is how many want its streams, whoever asks for them."""
    hub, _ = watched_hub()
    demand = hub.demand(CAM)
    hub.borne = 99
    assert (hub.demands(CAM), hub.demands_total) == (1, 100)
    hub.borne = -1
    demand.release()
    assert hub.demands_total == 0


def test_a_cold_stream_begins_a_segment_before_the_place_that_was_asked_for() -> None:
    """So that siblings, whose places differ by less, miss nothing either; the first one counts."""
    hub, _ = watched_hub()
    had = ChunkId(Epoch(5), 1, 100, 7)
    hub.demand(CAM, {1: had})
    hub.demand(CAM, {1: had._replace(segment=50)})
    assert hub.begin_after(CAM) == {1: ChunkId(Epoch(5), 1, 99, 0)}


def test_a_place_says_nothing_about_a_stream_that_is_carried_already() -> None:
    """Its ring holds what it holds."""
    hub, _ = watched_hub()
    hub.demand(CAM).broadcast.open(Epoch(1), (VIDEO,))
    hub.demand(CAM, {1: video(3).id})
    assert hub.begin_after(CAM) is None


def test_the_place_is_forgotten_with_the_stream() -> None:
    """The next time it is joined live."""
    hub, _ = watched_hub()
    hub.demand(CAM, {1: video(3).id}).release()
    assert hub.begin_after(CAM) is not None
    hub.forget(CAM)
    assert hub.begin_after(CAM) is None
