"""What Prometheus is told of the cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from headrace.access.records import AudienceChange, Counts
from headrace.access.viewing import MemoryViewing
from headrace.clock import SystemClock
from headrace.registry.leases import StoreAway
from headrace.registry.memory import MemoryRegistry
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.testing import wait_until
from headrace_control_api.cluster_counts import ClusterCounts


class Viewing(MemoryViewing):
    """The viewers of one process, whose store can be taken away."""

    is_away = False
    is_broken = False

    async def counts(self) -> Mapping[str, Counts]:
        if self.is_away:
            raise StoreAway("it is away")
        if self.is_broken:
            raise KeyError("counts")
        return await super().counts()


@pytest.fixture
async def registry() -> AsyncIterator[MemoryRegistry]:
    registry = MemoryRegistry(clock=SystemClock())
    await registry.start()
    registry.keep_node(NodeRecord(node="in", role="ingress", load=0.25, children=1, streams=("a", "b", "c")))
    registry.keep_node(NodeRecord(node="edge", role="edge", layer=1000, streams=("a",)))
    registry.keep_node(NodeRecord(node="zoo", role="something else"))
    for name in ("a", "c"):
        registry.keep_stream(StreamRecord(stream=name, node="in", epoch=7, state="live"))
    registry.keep_stream(StreamRecord(stream="b", node="in", epoch=7, state="interrupted"))
    yield registry
    await registry.close()


def values(metrics: CollectorRegistry, name: str) -> dict[str, float]:
    """Return the values of a metric by its one label."""
    family = next(one for one in metrics.collect() if one.name == f"headrace_api_{name}")
    return {next(iter(sample.labels.values())): sample.value for sample in family.samples}


async def test_sums_and_names(registry: MemoryRegistry) -> None:
    """All are in the sums; by name only as many as are allowed, the first in the alphabet."""
    viewing, metrics = Viewing(SystemClock(), lease_seconds=60), CollectorRegistry()
    change = AudienceChange((), (), Counts(viewers=5, streams={"a": 3, "c": 2}), whole=True, listed=0)
    await viewing.tell("edge", change)
    counts = ClusterCounts(registry, viewing, 2)
    metrics.register(counts)
    assert values(metrics, "stream_viewers") == {}
    await counts.start()
    await wait_until(lambda: values(metrics, "stream_viewers"))
    assert values(metrics, "streams") == {"live": 2, "interrupted": 1, "ended": 0}
    assert {role: number for role, number in values(metrics, "nodes").items() if number} == {
        "ingress": 1,
        "edge": 1,
        "other": 1,
    }
    assert values(metrics, "stream_live") == {"a": 1, "b": 0}
    assert values(metrics, "stream_nodes") == {"a": 2, "b": 1}
    assert values(metrics, "stream_viewers") == {"a": 3, "b": 0}
    assert (values(metrics, "node_load"), values(metrics, "node_children")) == (
        {"edge": 0, "in": 0.25},
        {"edge": 0, "in": 1},
    )
    assert (values(metrics, "node_streams"), values(metrics, "node_viewers")) == ({"edge": 1, "in": 3}, {"edge": 5})
    await counts.stop()
    await counts.stop()


async def test_what_is_not_known_is_not_told(registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store is away nobody is said to watch nothing; with 0 no stream and no node is named."""
    monkeypatch.setattr("headrace_control_api.cluster_counts.LOOK_SECONDS", 0.01)
    viewing, metrics = Viewing(SystemClock()), CollectorRegistry()
    counts = ClusterCounts(registry, viewing, 9)
    metrics.register(counts)
    await counts.start()
    await wait_until(lambda: values(metrics, "stream_viewers") == {"a": 0, "b": 0, "c": 0})
    viewing.is_away = True
    await wait_until(lambda: values(metrics, "stream_viewers") == {})
    viewing.is_away = False
    await wait_until(lambda: values(metrics, "stream_viewers"))
    await counts.stop()
    none = CollectorRegistry()
    none.register(ClusterCounts(registry, viewing, 0))
    assert (values(none, "stream_live"), values(none, "node_load")) == ({}, {})
    assert values(none, "streams")["live"] == 2


async def test_counting_outlives_a_fault(registry: MemoryRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer that nobody foresaw is told, and asked for again; meanwhile nothing is said of who watches."""
    monkeypatch.setattr("headrace_control_api.cluster_counts.LOOK_SECONDS", 0.01)
    monkeypatch.setattr("headrace.telemetry.faults.RESTART_SECONDS", 0.01)
    viewing, metrics = Viewing(SystemClock()), CollectorRegistry()
    counts = ClusterCounts(registry, viewing, 9)
    metrics.register(counts)
    await counts.start()
    await wait_until(lambda: values(metrics, "stream_viewers"))
    viewing.is_broken = True
    with capture_logs() as lines:
        await wait_until(lambda: values(metrics, "stream_viewers") == {} and lines)
    assert lines[0]["event"] == "task_failed"
    viewing.is_broken = False
    await wait_until(lambda: values(metrics, "stream_viewers"))
    await counts.stop()
