"""What a registry knows: the last records that were told, and those that are in doubt.

A record that somebody removed, or that expired while the store was well, goes at once. One that is only *missing*,
since the store was flushed, restarted or lost its memory, is in doubt: its owner is given time to announce it again
before it goes. So a store that comes back empty takes nobody's routes away. Pure; times are whatever clock the caller
uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from headrace.identifiers import NodeId, StreamName
from headrace.registry.leases import Change, How, Kind, LeaseKey
from headrace.registry.records import InvalidRecord, NodeRecord, Record, StreamRecord, decode_node, decode_stream

REFUSED_MAX = 1000
"""Most foreign records remembered so that each is complained of once."""


class View:
    """The last known records of a cluster.

    Attributes:
        nodes, streams: read-only views that change when this does.
    """

    def __init__(self, on_refused: Callable[[LeaseKey, str], None]) -> None:
        """Call `on_refused` with each record that cannot be believed, and why, once until it becomes good or goes."""
        self._on_refused = on_refused
        self._nodes: dict[NodeId, NodeRecord] = {}
        self._streams: dict[StreamName, StreamRecord] = {}
        self._own: dict[LeaseKey, Record] = {}
        self._doubted: dict[LeaseKey, float] = {}
        self._refused: set[LeaseKey] = set()
        self.nodes: Mapping[NodeId, NodeRecord] = MappingProxyType(self._nodes)
        self.streams: Mapping[StreamName, StreamRecord] = MappingProxyType(self._streams)

    def keep(self, key: LeaseKey, record: Record) -> bool:
        """Show our own `record` under `key`, whatever the store says; return whether that is a change."""
        self._own[key] = record
        self._doubted.pop(key, None)
        return self._show(key, record)

    def release(self, key: LeaseKey) -> None:
        """Believe the store about `key` again; what is shown stays until it speaks."""
        self._own.pop(key, None)

    def drop(self, key: LeaseKey) -> bool:
        """Forget `key`, our own included; return whether it was known."""
        self._own.pop(key, None)
        return self._hide(key)

    def apply(self, change: Change, grace_until: float | None) -> bool:
        """Apply one change; return whether the view is another.

        Args:
            change: as the store told it.
            grace_until: when not `None` the store has just come back, and what expired is doubted until then.
        """
        if change.key in self._own:
            return False
        if change.how is How.PUT:
            return self._believe(change.key, change.record)
        self._refused.discard(change.key)
        if change.how is How.EXPIRED and grace_until is not None:
            self._doubt(change.key, grace_until)
            return False
        return self._hide(change.key)

    def replace(self, records: Mapping[LeaseKey, bytes], grace_until: float) -> bool:
        """Apply a full reading; what is missing in it is doubted until `grace_until`. Return whether that changed."""
        changed = False
        for key, data in records.items():
            if key not in self._own:
                changed |= self._believe(key, data)
        for key in self._known() - records.keys() - self._own.keys():
            self._doubt(key, grace_until)
        self._refused &= records.keys()
        return changed

    def settle(self, now: float) -> bool:
        """Let go of what was doubted long enough; return whether anything was."""
        over = [key for key, until in self._doubted.items() if until <= now]
        for key in over:
            self._hide(key)
        return bool(over)

    @property
    def next_settling(self) -> float | None:
        """When `settle` has something to do next, `None` when nothing is in doubt."""
        return min(self._doubted.values(), default=None)

    def get(self, key: LeaseKey) -> Record | None:
        """Return what is known under `key`."""
        return self._nodes.get(NodeId(key.name)) if key.kind is Kind.NODE else self._streams.get(StreamName(key.name))

    def _known(self) -> set[LeaseKey]:
        nodes = {LeaseKey(Kind.NODE, name) for name in self._nodes}
        return nodes | {LeaseKey(Kind.STREAM, name) for name in self._streams}

    def _believe(self, key: LeaseKey, data: bytes) -> bool:
        try:
            record = parse_record(key, data)
        except InvalidRecord as error:
            if key not in self._refused and len(self._refused) < REFUSED_MAX:
                self._refused.add(key)
                self._on_refused(key, str(error))
            return False
        self._refused.discard(key)
        self._doubted.pop(key, None)
        return self._show(key, record)

    def _doubt(self, key: LeaseKey, until: float) -> None:
        if self.get(key) is not None:
            self._doubted.setdefault(key, until)

    def _show(self, key: LeaseKey, record: Record) -> bool:
        before = self.get(key)
        if isinstance(record, NodeRecord):
            self._nodes[NodeId(key.name)] = record
        else:
            self._streams[StreamName(key.name)] = record
        return before != record

    def _hide(self, key: LeaseKey) -> bool:
        self._doubted.pop(key, None)
        if key.kind is Kind.NODE:
            return self._nodes.pop(NodeId(key.name), None) is not None
        return self._streams.pop(StreamName(key.name), None) is not None


def parse_record(key: LeaseKey, data: bytes) -> Record:
    """Return the record that `data` holds and that stands under `key`.

    Raises:
        InvalidRecord: when it cannot be believed.
    """
    return decode_node(data, key.name) if key.kind is Kind.NODE else decode_stream(data, key.name)
