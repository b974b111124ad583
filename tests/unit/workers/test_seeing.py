"""What workers are told of the cluster."""

from __future__ import annotations

from headrace.identifiers import NodeId, StreamName
from headrace.registry.placement import rank_parents
from headrace.registry.records import NodeRecord, StreamRecord
from headrace_edge.workers.seeing import OnlyNode, Seen, Told

EDGE, OTHER, CAM = NodeId("edge-1"), NodeId("edge-2"), StreamName("cam1")
URL = "ws://127.0.0.1:5/relay"
ME = NodeRecord(node="edge-1.1.ab", role="worker", layer=1000)


def node(name: str, **values: object) -> NodeRecord:
    return NodeRecord(node=name, role="edge", layer=1000, relay_url="ws://elsewhere/relay", **values)  # type: ignore[arg-type]


def stream(owner: str = "ingress-1") -> StreamRecord:
    return StreamRecord(stream=CAM, node=owner, epoch=1, state="live")


def test_changes_only_are_told() -> None:
    """The first time everything, then what is new and what is gone, and nothing when nothing is."""
    told, seen = Told(), Seen()
    heard: list[int] = []
    seen.watchers.add(lambda: heard.append(1))
    nodes, streams = {EDGE: node(EDGE), OTHER: node(OTHER)}, {CAM: stream()}
    first = told.change(nodes, streams)
    assert first is not None
    seen.take(first)
    assert (seen.nodes, seen.streams) == (nodes, streams)
    assert told.change(dict(nodes), dict(streams)) is None
    nodes = {EDGE: node(EDGE, draining=True)}
    second = told.change(nodes, {})
    assert second is not None
    assert [record.node for record in second.nodes] == [EDGE]
    seen.take(second)
    assert (seen.nodes, seen.streams) == (nodes, {})
    assert heard == [1, 1]


def fed_by(seen: Seen) -> list[tuple[str, str]]:
    """Return from whom, and where, a worker would fetch the stream."""
    cluster = OnlyNode(seen, EDGE, URL)
    found = rank_parents(ME, CAM, cluster.nodes.values(), cluster.streams)
    return [(one.node, one.relay_url) for one in found]


def seeing(nodes: dict[NodeId, NodeRecord], streams: dict[StreamName, StreamRecord]) -> Seen:
    seen = Seen()
    view = Told().change(nodes, streams)
    assert view is not None
    seen.take(view)
    return seen


def test_every_known_stream_comes_from_the_node() -> None:
    """Whoever has it, and however full or far gone the node is: the worker is a part of it."""
    full = node(EDGE, load=5.0, draining=True, children=9, children_max=8)
    assert fed_by(seeing({EDGE: full, OTHER: node(OTHER, streams=(CAM,))}, {CAM: stream()})) == [(EDGE, URL)]
    assert fed_by(seeing({EDGE: full}, {CAM: stream(owner=EDGE)})) == [(EDGE, URL)]


def test_a_stream_without_a_record_comes_from_the_node_while_that_carries_it() -> None:
    """As with other nodes: its record may be late."""
    assert fed_by(seeing({EDGE: node(EDGE, streams=(CAM,))}, {})) == [(EDGE, URL)]
    assert fed_by(seeing({EDGE: node(EDGE)}, {})) == []
