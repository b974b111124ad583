"""Lists of streams and nodes, from the registry's records."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.identifiers import NodeId, StreamName
from headrace.registry.records import NodeRecord, StreamRecord, TrackSummary
from headrace_control_api.models import NodeQuery, StreamQuery
from headrace_control_api.views import list_nodes, list_streams, show_stream, show_topology

NODES = {
    NodeId(record.node): record
    for record in (
        NodeRecord(node="edge-1", role="edge", layer=1000, streams=("cam1", "cam2"), public_url="http://e1"),
        NodeRecord(node="mid-1", role="intermediate", layer=1, streams=("cam1",), load=0.5),
        NodeRecord(node="ingress-1", role="ingress", layer=0, streams=("cam1", "cam2")),
        NodeRecord(node="api", role="control-api", layer=1000),
    )
}
TRACK = TrackSummary(track=1, kind="video", codec="avc1.64001f", width=1280, height=720, bandwidth=2_000_000)
STREAMS = {
    StreamName(record.stream): record
    for record in (
        StreamRecord(stream="cam2", node="ingress-1", epoch=5, state="interrupted"),
        StreamRecord(stream="cam1", node="ingress-1", epoch=4, state="live", tracks=(TRACK,)),
    )
}


def test_streams_with_owner_first_and_the_way_out() -> None:
    """A stream is listed with its tracks and every node that carries it, from ingress to edges."""
    first, second = list_streams(STREAMS, NODES, StreamQuery()).streams
    assert first.nodes == ["ingress-1", "mid-1", "edge-1"]
    assert (first.name, first.state, first.owner, first.epoch) == ("cam1", "live", "ingress-1", 4)
    assert (first.tracks[0].codec, first.tracks[0].width, first.bitrate) == ("avc1.64001f", 1280, 2_000_000)
    assert (second.name, second.state, second.tracks) == ("cam2", "interrupted", [])


def test_owner_that_is_gone_is_still_named() -> None:
    """A stream whose owner's node record has expired first is listed all the same."""
    assert list_streams(STREAMS, {}, StreamQuery()).streams[0].nodes == ["ingress-1"]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"state": "live"}, ["cam1"]),
        ({"node": "mid-1"}, ["cam1"]),
        ({"node": "edge-1"}, ["cam1", "cam2"]),
        ({"node": "nobody"}, []),
        ({"prefix": "cam2"}, ["cam2"]),
    ],
)
def test_streams_are_filtered(query: dict[str, Any], names: list[str]) -> None:
    """Each filter takes away what does not match."""
    page = list_streams(STREAMS, NODES, StreamQuery(**query))
    assert ([stream.name for stream in page.streams], page.total, page.next) == (names, len(names), None)


def test_pages_of_streams_hang_together() -> None:
    """`next` of a page is `after` of the one that follows, and nothing is left out or told twice."""
    first = list_streams(STREAMS, NODES, StreamQuery(limit=1))
    assert ([stream.name for stream in first.streams], first.total, first.next) == (["cam1"], 2, "cam1")
    second = list_streams(STREAMS, NODES, StreamQuery(limit=1, after=first.next or ""))
    assert ([stream.name for stream in second.streams], second.total, second.next) == (["cam2"], 2, None)


def test_one_stream_with_its_carriers() -> None:
    """A stream alone tells of the nodes that carry it, the way media flows."""
    stream = show_stream(STREAMS[StreamName("cam1")], NODES)
    assert [(carrier.node, carrier.layer) for carrier in stream.carriers] == [
        ("ingress-1", 0),
        ("mid-1", 1),
        ("edge-1", 1000),
    ]


def test_nodes_by_layer() -> None:
    """Nodes are listed the way media flows."""
    nodes = list_nodes(NODES, NodeQuery()).nodes
    assert [node.id for node in nodes] == ["ingress-1", "mid-1", "api", "edge-1"]
    assert (nodes[1].load, nodes[3].streams, nodes[3].public_url) == (0.5, ["cam1", "cam2"], "http://e1")


@pytest.mark.parametrize(
    ("query", "names"),
    [({"role": "edge"}, ["edge-1"]), ({"stream": "cam2"}, ["ingress-1", "edge-1"]), ({"region": "moon"}, [])],
)
def test_nodes_are_filtered(query: dict[str, Any], names: list[str]) -> None:
    """Each filter takes away what does not match."""
    assert [node.id for node in list_nodes(NODES, NodeQuery(**query)).nodes] == names


def test_pages_of_nodes_hang_together() -> None:
    """Nodes come in pages too."""
    names, after = [], None
    for _ in NODES:
        page = list_nodes(NODES, NodeQuery(limit=1, after=after))
        names.append(page.nodes[0].id)
        after = page.next
    assert (names, after) == (["ingress-1", "mid-1", "api", "edge-1"], None)


def test_topology_has_each_stream_layer_by_layer() -> None:
    """The graph tells for each stream who carries it, from its owner down."""
    topology = show_topology(STREAMS, NODES)
    assert [node.id for node in topology.nodes] == ["ingress-1", "mid-1", "api", "edge-1"]
    assert [stream.layers for stream in topology.streams] == [
        [["ingress-1"], ["mid-1"], ["edge-1"]],
        [["ingress-1"], ["edge-1"]],
    ]
