"""What workers count, shown as what their node counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from headrace.telemetry.process import process_metrics
from headrace_edge.workers.counting import WorkerCounts, families_of


class Worker:
    """What a worker counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        process = process_metrics(self.registry, "edge-1", "worker", "test")
        self.lag = process.loop_lag_seconds
        self.viewers = Gauge("headrace_edge_viewers", "Viewers.", ["door"], registry=self.registry)
        self.sent = Counter("headrace_edge_sent_bytes", "Bytes.", ["door"], registry=self.registry)
        self.join = Histogram("headrace_edge_join_seconds", "Join.", buckets=(1.0,), registry=self.registry)
        self.gaps = Counter("headrace_relay_gaps", "Gaps.", registry=self.registry)
        Counter("headrace_relay_chunks_sent", "Nobody's business.", registry=self.registry)


class Whole:
    """What a node shows of its workers."""

    def __init__(self, **workers: Worker) -> None:
        self.counts = WorkerCounts()
        self.registry = CollectorRegistry()
        self.registry.register(self.counts)
        for name, worker in workers.items():
            self.take(name, worker)

    def take(self, name: str, worker: Worker) -> None:
        self.counts.take(name, families_of(worker.registry))

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


def test_everything_is_summed_by_its_labels() -> None:
    """Counters, gauges and the buckets of histograms."""
    one, two = Worker(), Worker()
    one.viewers.labels("play").set(3)
    two.viewers.labels("play").set(4)
    two.viewers.labels("fmp4").set(1)
    one.sent.labels("play").inc(10)
    two.sent.labels("play").inc(5)
    one.join.observe(0.5)
    two.join.observe(5)
    whole = Whole(w1=one, w2=two)
    assert whole.value("headrace_edge_viewers", door="play") == 7
    assert whole.value("headrace_edge_viewers", door="fmp4") == 1
    assert whole.value("headrace_edge_sent_bytes_total", door="play") == 15
    assert whole.value("headrace_edge_join_seconds_bucket", le="1.0") == 1
    assert whole.value("headrace_edge_join_seconds_bucket", le="+Inf") == 2
    assert whole.value("headrace_edge_join_seconds_sum") == 5.5


def test_each_worker_is_shown_too() -> None:
    """Its CPU, its memory and its viewers at all doors."""
    one = Worker()
    one.viewers.labels("play").set(3)
    one.viewers.labels("live").set(2)
    whole = Whole(w1=one, w2=Worker())
    assert whole.value("headrace_edge_worker_viewers", worker="w1") == 5
    assert whole.value("headrace_edge_worker_viewers", worker="w2") == 0
    assert (whole.value("headrace_edge_worker_cpu_seconds_total", worker="w2") or 0) > 0
    assert (whole.value("headrace_edge_worker_memory_bytes", worker="w1") or 0) > 0


def test_what_the_node_counts_itself_has_another_name() -> None:
    """Two metrics of one name would be none; what is only between node and worker is not shown."""
    one = Worker()
    one.lag.observe(0.2)
    one.gaps.inc(2)
    whole = Whole(w1=one)
    assert whole.value("headrace_edge_worker_loop_lag_seconds_count") == 1
    assert whole.value("headrace_edge_worker_gaps_total") == 2
    names = {family.name for family in whole.registry.collect()}
    assert not {name for name in names if not name.startswith("headrace_edge_")}


def test_what_a_worker_counted_stays_when_it_is_gone() -> None:
    """Sums never shrink, or they would be taken for ones that began anew; gauges go with it."""
    one, two = Worker(), Worker()
    one.sent.labels("play").inc(10)
    one.join.observe(0.5)
    one.viewers.labels("play").set(3)
    whole = Whole(w1=one, w2=two)
    whole.counts.ended("w1")
    whole.counts.ended("w1")
    assert whole.value("headrace_edge_sent_bytes_total", door="play") == 10
    assert whole.value("headrace_edge_join_seconds_count") == 1
    assert whole.value("headrace_edge_viewers", door="play") is None
    again = Worker()
    again.sent.labels("play").inc(1)
    whole.take("w1", again)
    assert whole.value("headrace_edge_sent_bytes_total", door="play") == 11
    assert whole.value("headrace_edge_worker_restarts_total") == 0
    whole.counts.restarted()
    assert whole.value("headrace_edge_worker_restarts_total") == 1
