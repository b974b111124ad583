"""docs/metrics.md says what the programs export."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from headrace.service.certificate import certificate_metric
from headrace.session.metrics import RelayMetrics
from headrace.telemetry.process import process_metrics
from headrace_edge.workers.counting import WorkerCounts, families_of

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|", re.MULTILINE)
TYPE = re.compile(r"^# TYPE (\w+) (\w+)", re.MULTILINE)


def documented() -> dict[str, str]:
    """Return type by name of every metric on the page."""
    return dict(ROW.findall(PAGE.read_text()))


def exported_elsewhere() -> dict[str, str]:
    """Return what nodes export beside that: those of a cluster, those with a certificate, and edges with workers."""
    registry = CollectorRegistry()
    RelayMetrics.make(registry)
    certificate_metric(registry)
    counts, worker = WorkerCounts(), CollectorRegistry()
    RelayMetrics.make(worker)
    process_metrics(worker, "edge-1", "worker", "")
    counts.take("1", families_of(worker))
    registry.register(counts)
    ends = {"counter": "_total"}
    return {family.name + ends.get(family.type, ""): family.type for family in registry.collect()}


def test_every_metric_is_documented(up: Callable[..., Any]) -> None:
    """What a running Headrace exports is on the page with its type, and the page has nothing else."""
    running = up("--demo")
    with urllib.request.urlopen(f"{running.edge}/metrics", timeout=10) as answer:
        exported = dict(TYPE.findall(answer.read().decode())) | exported_elsewhere()
    assert {name: kind for name, kind in exported.items() if documented().get(name) != kind} == {}
    assert sorted(set(documented()) - set(exported)) == []
