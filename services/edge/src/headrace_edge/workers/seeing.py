"""What workers know of the cluster: what their node told them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec

from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import DesiredEntry, DesiredKey
from headrace.registry.records import LAYER_MAX, NodeRecord, StreamRecord
from headrace_edge.workers.messages import View

NODE_LAYER: Final = LAYER_MAX - 1
"""Where workers, which are in the last layer, see their node: below them, and above whatever it may be fed by."""

Record = TypeVar("Record")


class Told:
    """What one worker was told, so that it is told changes only."""

    def __init__(self) -> None:
        self._nodes: dict[Any, NodeRecord] = {}
        self._streams: dict[Any, StreamRecord] = {}

    def change(self, nodes: Mapping[NodeId, NodeRecord], streams: Mapping[StreamName, StreamRecord]) -> View | None:
        """Return what changed since the last time, which counts as told; `None` when nothing did."""
        new_nodes, gone_nodes = _differences(self._nodes, nodes)
        new_streams, gone_streams = _differences(self._streams, streams)
        if not (new_nodes or gone_nodes or new_streams or gone_streams):
            return None
        self._nodes, self._streams = dict(nodes), dict(streams)
        return View(new_nodes, gone_nodes, new_streams, gone_streams)


def _differences(before: Mapping[Any, Record], now: Mapping[Any, Record]) -> tuple[tuple[Record, ...], tuple[str, ...]]:
    new = tuple(record for name, record in now.items() if before.get(name) is not record)
    return new, tuple(name for name in before if name not in now)


class Seen:
    """The cluster as a worker sees it.

    Attributes:
        nodes, streams: as last told.
        watchers: called when that changed.
    """

    def __init__(self) -> None:
        self.nodes: dict[NodeId, NodeRecord] = {}
        self.streams: dict[StreamName, StreamRecord] = {}
        self.watchers: set[Callable[[], None]] = set()

    def take(self, view: View) -> None:
        """Take what the node told."""
        self.nodes.update((NodeId(record.node), record) for record in view.nodes)
        self.streams.update((StreamName(record.stream), record) for record in view.streams)
        for node in view.gone_nodes:
            self.nodes.pop(NodeId(node), None)
        for stream in view.gone_streams:
            self.streams.pop(StreamName(stream), None)
        for watcher in tuple(self.watchers):
            watcher()


class OnlyNode:
    """The same for the worker's fetching: there is nobody but its node, which has or gets every stream that is known.

    Args:
        seen: what was told.
        node: that node.
        relay_url: where it is reached from here.
    """

    def __init__(self, seen: Seen, node: NodeId, relay_url: str) -> None:
        self._seen = seen
        self._node = node
        self._relay_url = relay_url

    @property
    def nodes(self) -> Mapping[NodeId, NodeRecord]:
        known = self._seen.nodes.get(self._node) or NodeRecord(node=self._node, role="edge")
        here = msgspec.structs.replace(
            known, relay_url=self._relay_url, layer=NODE_LAYER, load=0.0, children=0, children_max=0, draining=False
        )
        return {self._node: here}

    @property
    def streams(self) -> Mapping[StreamName, StreamRecord]:
        return self._seen.streams

    @property
    def desired(self) -> Mapping[DesiredKey, DesiredEntry]:
        """Orders are the node's business."""
        return {}

    @property
    def watchers(self) -> set[Callable[[], None]]:
        return self._seen.watchers

    def keep_node(self, record: NodeRecord) -> None:
        """A worker is no node of its own."""

    def refresh(self) -> None:
        """The node reads the registry."""
