"""What runs where, as the API tells it: documents made from the registry's records. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby

import msgspec

from headrace.identifiers import NodeId, StreamName
from headrace.registry.records import NodeRecord, StreamRecord
from headrace_control_api.models import (
    CarrierView,
    MeasuredView,
    NodeList,
    NodeQuery,
    NodeView,
    ParentView,
    StreamDetail,
    StreamList,
    StreamQuery,
    StreamView,
    Topology,
    TopologyNode,
    TopologyStream,
    TrackView,
)

Streams = Mapping[StreamName, StreamRecord]
Nodes = Mapping[NodeId, NodeRecord]


def list_streams(streams: Streams, nodes: Nodes, query: StreamQuery) -> StreamList:
    """Return a page of streams by name, each with the nodes that carry it, its owner first."""
    carriers = carriers_of(nodes.values())
    found = [
        record
        for name, record in sorted(streams.items())
        if name.startswith(query.prefix)
        and query.state in (None, record.state)
        and (query.node is None or query.node == record.node or query.node in carriers.get(name, ()))
    ]
    rest = [record for record in found if record.stream > query.after] if query.after else found
    page = rest[: query.limit]
    return StreamList(
        streams=[_stream(record, carriers) for record in page],
        total=len(found),
        next=page[-1].stream if len(rest) > len(page) else None,
    )


def show_stream(
    record: StreamRecord, nodes: Nodes, viewers: int | None = None, measured: MeasuredView | None = None
) -> StreamDetail:
    """Return all that is known of a stream."""
    view = _stream(record, carriers_of(nodes.values()))
    known = [nodes[NodeId(name)] for name in view.nodes if name in nodes]
    return StreamDetail(
        **dict(view),
        viewers=viewers,
        measured=measured,
        next_segment=record.next_segment,
        end_seconds=record.end_seconds,
        carriers=[
            CarrierView(
                node=node.node,
                role=node.role,
                layer=node.layer,
                region=node.region,
                depth=node.depth,
                draining=node.draining,
            )
            for node in known
        ],
    )


def list_nodes(nodes: Nodes, query: NodeQuery) -> NodeList:
    """Return a page of nodes, ingress first, each with the streams that it carries."""
    found = [
        node
        for node in sorted(nodes.values(), key=_place)
        if query.role in (None, node.role)
        and query.region in (None, node.region)
        and (query.stream is None or query.stream in node.streams)
    ]
    rest = [node for node in found if _place(node) > _parse_place(query.after)] if query.after else found
    page = rest[: query.limit]
    return NodeList(
        nodes=[show_node(node) for node in page],
        total=len(found),
        next=f"{page[-1].layer}:{page[-1].node}" if len(rest) > len(page) else None,
    )


def show_node(node: NodeRecord) -> NodeView:
    """Return a node with the streams that it carries."""
    return NodeView(
        id=node.node,
        role=node.role,
        layer=node.layer,
        region=node.region,
        host=node.host,
        relay_url=node.relay_url,
        public_url=node.public_url,
        load=node.load,
        capacity=node.capacity,
        children=node.children,
        depth=node.depth,
        draining=node.draining,
        streams=sorted(node.streams),
        software=node.software,
        started_us=node.started_us,
    )


def show_topology(streams: Streams, nodes: Nodes, parents: Mapping[str, list[ParentView]] | None = None) -> Topology:
    """Return the cluster as a graph, with the parents by stream if they were asked for."""
    carriers = carriers_of(nodes.values())
    return Topology(
        nodes=[
            TopologyNode(
                id=node.node,
                role=node.role,
                layer=node.layer,
                region=node.region,
                host=node.host,
                depth=node.depth,
                load=node.load,
                children=node.children,
                draining=node.draining,
            )
            for node in sorted(nodes.values(), key=_place)
        ],
        streams=[
            TopologyStream(
                name=name,
                state=record.state,
                owner=record.node,
                layers=_layers(record, carriers.get(name, ()), nodes),
                parents=None if parents is None else parents.get(name, []),
            )
            for name, record in sorted(streams.items())
        ],
    )


def carriers_of(nodes: Iterable[NodeRecord]) -> dict[str, list[str]]:
    """Return for each stream the nodes that carry it, from ingress to edges."""
    carriers: dict[str, list[str]] = {}
    for node in sorted(nodes, key=_place):
        for stream in node.streams:
            carriers.setdefault(stream, []).append(node.node)
    return carriers


def nodes_with(record: StreamRecord, carriers: Mapping[str, list[str]]) -> list[str]:
    """Return the nodes that carry a stream, its owner first."""
    return [record.node, *(node for node in carriers.get(record.stream, ()) if node != record.node)]


def _stream(record: StreamRecord, carriers: Mapping[str, list[str]]) -> StreamView:
    return StreamView(
        name=record.stream,
        state=record.state,
        owner=record.node,
        epoch=record.epoch,
        bitrate=sum(track.bandwidth for track in record.tracks),
        tracks=[TrackView(**msgspec.structs.asdict(track)) for track in record.tracks],
        nodes=nodes_with(record, carriers),
    )


def _layers(record: StreamRecord, names: Iterable[str], nodes: Nodes) -> list[list[str]]:
    others = [nodes[NodeId(name)] for name in names if name != record.node]
    return [[record.node], *([node.node for node in layer] for _, layer in groupby(others, lambda node: node.layer))]


def _place(node: NodeRecord) -> tuple[int, str]:
    return node.layer, node.node


def _parse_place(text: str) -> tuple[int, str]:
    layer, _, node = text.partition(":")
    return int(layer), node
