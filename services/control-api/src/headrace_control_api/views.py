"""What runs where, as the API tells it: documents made from the registry's records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from headrace.identifiers import NodeId, StreamName
from headrace.registry.records import NodeRecord, StreamRecord

Document = dict[str, Any]


def list_streams(streams: Mapping[StreamName, StreamRecord], nodes: Mapping[NodeId, NodeRecord]) -> list[Document]:
    """Return all streams, by name, each with the nodes that carry it, its owner first."""
    carriers = _carriers(nodes.values())
    return [
        {
            "name": name,
            "state": record.state,
            "owner": record.node,
            "epoch": record.epoch,
            "tracks": [msgspec.to_builtins(track) for track in record.tracks],
            "nodes": [record.node, *(node for node in carriers.get(name, ()) if node != record.node)],
        }
        for name, record in sorted(streams.items())
    ]


def list_nodes(nodes: Mapping[NodeId, NodeRecord]) -> list[Document]:
    """Return all nodes, ingress first, each with the streams that it carries."""
    ordered = sorted(nodes.values(), key=lambda node: (node.layer, node.role, node.node))
    return [
        {
            "id": node.node,
            "role": node.role,
            "layer": node.layer,
            "region": node.region,
            "relay_url": node.relay_url,
            "public_url": node.public_url,
            "load": node.load,
            "capacity": node.capacity,
            "draining": node.draining,
            "streams": sorted(node.streams),
            "software": node.software,
            "started_us": node.started_us,
        }
        for node in ordered
    ]


def _carriers(nodes: Iterable[NodeRecord]) -> dict[str, list[str]]:
    carriers: dict[str, list[str]] = {}
    for node in sorted(nodes, key=lambda node: (node.layer, node.node)):
        for stream in node.streams:
            carriers.setdefault(stream, []).append(node.node)
    return carriers
