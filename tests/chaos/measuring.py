"""One fault, and what came of it."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from chaos.faults import Fault, Kind, wait
from chaos.probes import Seen
from chaos.scraping import Sample, grown
from chaos.topology import NotWell, Topology
from support.services import Service

SERVED_SECONDS = 30.0
"""How long viewers may take to get chunks again before they count as left behind."""

SHAPED_SECONDS = 30.0
"""How long nodes that went past their layer may take to come back before the next fault is done to an intermediate:
twice the longest wait of a stream that goes back. One that nobody's route passes would show nothing."""

SETTLE_SECONDS = 1.0
"""How long viewers are watched after everything is well again: what comes late belongs to the fault."""


DETAILS_MAX = 8
"""Most kinds of fault that are told in words for one row."""


@dataclass(slots=True)
class Row:
    """What one fault did.

    Attributes:
        lost, duplicated: chunks, over all viewers.
        pause_ms_p50, pause_ms_p99, pause_ms_max: of each viewer's longest pause between chunks of one track.
        extra_bytes: chunk bytes that viewers got though they had them.
        relay_duplicates: chunks that nodes got though they had them.
        moves: streams that went on from another parent, in nodes.
        moves_counted: whether the nodes lived to tell.
        moves_elsewhere: those of them in nodes that were no children of what the fault was done to.
        viewer_moves: viewers that went to another edge.
        detection_ms: until the last child, or the last viewer of an edge, knew; `None` where nobody had to.
        served: viewers whose route passed what the fault was done to.
        left_behind: viewers that got nothing any more.
        interruptions: how often viewers were told that the stream is interrupted.
        problem: why the topology did not come back, empty when it did.
        details: what was lost or doubled, in words.
    """

    name: str
    kind: str
    text: str = ""
    victim: str = ""
    lost: int = 0
    duplicated: int = 0
    pause_ms_p50: float = 0.0
    pause_ms_p99: float = 0.0
    pause_ms_max: float = 0.0
    extra_bytes: int = 0
    relay_duplicates: int = 0
    moves: int = 0
    moves_counted: bool = True
    moves_elsewhere: int = 0
    viewer_moves: int = 0
    detection_ms: float | None = None
    served: int = 0
    left_behind: int = 0
    interruptions: int = 0
    chunks: int = 0
    viewers: int = 0
    must_hold: bool = True
    problem: str = ""
    details: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, nothing came twice, and all came back."""
        return not (self.lost or self.duplicated or self.left_behind or self.problem)

    def as_json(self) -> dict[str, Any]:
        """Return it for build/chaos.json."""
        return {**asdict(self), "holds": self.holds}


@dataclass(frozen=True, slots=True)
class Before:
    """How it stood when a fault began.

    Attributes:
        at: UTC.
    """

    at: float
    parents: dict[str, str]
    samples: dict[str, Sample]
    edges: dict[str, str]

    def children(self, victim: str) -> set[str]:
        """Return the nodes that took the stream from `victim`."""
        return {child for child, parent in self.parents.items() if parent == victim}


def watch(topology: Topology, seconds: float) -> Row:
    """Return what viewers notice while nothing is done."""
    before = _begin(topology)
    time.sleep(seconds)
    row = Row("nothing", "", text=f"for {seconds:.0f} s")
    _fill(row, topology, before, None)
    return row


def inflict(topology: Topology, fault: Fault) -> Row:
    """Do a fault, undo it, wait until all is well, and return what came of it."""
    if fault.kind is Kind.RELAY:
        topology.wait_until_shaped(SHAPED_SECONDS)
    chosen = fault.choose(topology)
    serving = topology.serving()
    victim = topology.services[who_serves(chosen.node, [one.node for one in topology.of_role(chosen.role)], serving)]
    text = fault.text if victim is chosen else f"{fault.text}; done to {victim.node}, its own layer served nobody"
    row = Row(fault.name, fault.kind.value, text, _named(fault, victim), must_hold=fault.must_hold)
    row.served, row.moves_counted = serving[victim.node], not fault.restarts_all
    before = _begin(topology)
    try:
        fault.begin(topology, victim)
        wait(fault.seconds)
        fault.end(topology, victim)
        row.left_behind = topology.wait_until_served(SERVED_SECONDS)
        topology.wait_until_well()
        time.sleep(SETTLE_SECONDS)
    except (NotWell, AssertionError) as problem:
        row.problem = str(problem)[:1000]
    if not row.served and fault.kind in {Kind.RELAY, Kind.EDGE}:
        row.details.append("nobody was served by it: this shows nothing")
    _fill(row, topology, before, victim if fault.kind in {Kind.RELAY, Kind.EDGE, Kind.INGRESS} else None)
    if fault.kind is Kind.MIXED:
        row.moves_elsewhere, row.detection_ms = 0, None
    return row


def who_serves(chosen: str, others: Iterable[str], serving: Mapping[str, int]) -> str:
    """Return `chosen` if viewers' routes pass it, else the busiest of `others`: a fault that nobody can notice shows
    nothing. Nodes may have gone past a whole layer."""
    return chosen if serving.get(chosen) else max([chosen, *others], key=lambda node: serving.get(node, 0))


def _begin(topology: Topology) -> Before:
    assert topology.probes is not None
    parents, samples = topology.parents(), topology.samples()
    edges = {seen.name: seen.edge for seen in topology.probes.begin()}
    return Before(time.time(), parents, samples, edges)


def _fill(row: Row, topology: Topology, before: Before, victim: Service | None) -> None:
    seen = topology.seen()
    add_viewers(row, seen)
    name = victim.node if victim else ""
    children = before.children(name) | {name}
    for node, sample in topology.samples().items():
        moves = grown(before.samples.get(node), sample, "headrace_relay_switches_total")
        row.moves += moves
        row.moves_elsewhere += moves if node not in children else 0
        row.relay_duplicates += grown(before.samples.get(node), sample, "headrace_relay_duplicate_chunks_total")
    moments = list(_noticed_by_children(topology, before, name))
    if victim is not None and victim.role == "edge":
        moments = [
            viewer.figures.detected_at
            for viewer in seen
            if before.edges.get(viewer.name) == name and viewer.figures.detected_at
        ]
    row.detection_ms = round(1000 * (max(moments) - before.at), 1) if moments else None


def add_viewers(row: Row, seen: list[Seen]) -> None:
    """Add up what viewers saw."""
    figures = [viewer.figures for viewer in seen]
    row.viewers = len(figures)
    row.chunks = sum(each.chunks for each in figures)
    row.lost = sum(each.lost for each in figures)
    row.duplicated = sum(each.duplicated for each in figures)
    row.extra_bytes = sum(each.extra_bytes for each in figures)
    row.viewer_moves = sum(each.moves for each in figures)
    row.interruptions = sum(each.interruptions for each in figures)
    pauses = [1000 * each.pause for each in figures]
    row.pause_ms_p50, row.pause_ms_p99 = percentile(pauses, 0.5), percentile(pauses, 0.99)
    row.pause_ms_max = percentile(pauses, 1.0)
    told = Counter(detail for each in figures for detail in each.details)
    row.details += [f"{count} viewers: {detail}" for detail, count in told.most_common(DETAILS_MAX)]


def _noticed_by_children(topology: Topology, before: Before, victim: str) -> Iterable[float]:
    for node in before.children(victim):
        for event in topology.services[node].events("parent_lost"):
            if event["parent"] == victim and (moment := _utc(event["timestamp"])) >= before.at:
                yield moment
                break


def _utc(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def percentile(values: list[float], share: float) -> float:
    """Return the smallest value that a share of all does not exceed, rounded; 0 for none."""
    return round(sorted(values)[math.ceil(share * len(values)) - 1], 1) if values else 0.0


def _named(fault: Fault, victim: Service) -> str:
    return victim.node if fault.kind in {Kind.RELAY, Kind.EDGE, Kind.INGRESS} else fault.kind.value
