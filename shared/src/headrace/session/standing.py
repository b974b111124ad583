"""What a node tells of itself at one moment: how busy it is, what it carries, how deep it hangs."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from headrace.identifiers import StreamName
from headrace.registry.records import DEPTH_MAX, NODE_STREAMS_MAX, NodeRecord
from headrace.relay.hub import Hub
from headrace.wire.stream import RouteHop


def busy(record: NodeRecord, hub: Hub, children: int) -> NodeRecord:
    """Return `record`, as busy as the node is now."""
    load = round(hub.demands_total / max(1, record.capacity), 3)
    return msgspec.structs.replace(record, load=load, children=children)


def carrying(
    record: NodeRecord, hub: Hub, offered: Iterable[StreamName], routes: Iterable[tuple[RouteHop, ...]]
) -> NodeRecord:
    """Return `record` with the streams that can be had here, and the depth.

    Args:
        offered: streams that peers offer over links that are open: nobody else may know where they are.
        routes: of the streams that are fetched, this node last.
    """
    carried = {name for name, broadcast in hub.streams.items() if broadcast.epoch} | set(offered)
    depth = max((len(route) - 1 for route in routes), default=0)
    streams = tuple(sorted(carried)[:NODE_STREAMS_MAX])
    return msgspec.structs.replace(record, streams=streams, depth=min(max(0, depth), DEPTH_MAX))
