"""Lists of streams and nodes, from the registry's records."""

from __future__ import annotations

from headrace.identifiers import NodeId, StreamName
from headrace.registry.records import NodeRecord, StreamRecord, TrackSummary
from headrace_control_api.views import list_nodes, list_streams

NODES = {
    NodeId(record.node): record
    for record in (
        NodeRecord(node="edge-1", role="edge", layer=1000, streams=("cam1", "cam2"), public_url="http://e1"),
        NodeRecord(node="mid-1", role="intermediate", layer=1, streams=("cam1",), load=0.5),
        NodeRecord(node="ingress-1", role="ingress", layer=0, streams=("cam1", "cam2")),
        NodeRecord(node="api", role="control-api", layer=1000),
    )
}
TRACK = TrackSummary(track=1, kind="video", codec="avc1.64001f", width=1280, height=720)
STREAMS = {
    StreamName(record.stream): record
    for record in (
        StreamRecord(stream="cam2", node="ingress-1", epoch=5, state="interrupted"),
        StreamRecord(stream="cam1", node="ingress-1", epoch=4, state="live", tracks=(TRACK,)),
    )
}


def test_streams_with_owner_first_and_the_way_out() -> None:
    """A stream is listed with its tracks and every node that carries it, from ingress to edges."""
    first, second = list_streams(STREAMS, NODES)
    assert first["nodes"] == ["ingress-1", "mid-1", "edge-1"]
    assert (first["name"], first["state"], first["owner"], first["epoch"]) == ("cam1", "live", "ingress-1", 4)
    assert (first["tracks"][0]["codec"], first["tracks"][0]["width"]) == ("avc1.64001f", 1280)
    assert (second["name"], second["state"], second["tracks"]) == ("cam2", "interrupted", [])


def test_owner_that_is_gone_is_still_named() -> None:
    """A stream whose owner's node record has expired first is listed all the same."""
    assert list_streams(STREAMS, {})[0]["nodes"] == ["ingress-1"]


def test_nodes_by_layer() -> None:
    """Nodes are listed the way media flows."""
    nodes = list_nodes(NODES)
    assert [node["id"] for node in nodes] == ["ingress-1", "mid-1", "api", "edge-1"]
    assert (nodes[1]["load"], nodes[3]["streams"], nodes[3]["public_url"]) == (0.5, ["cam1", "cam2"], "http://e1")
