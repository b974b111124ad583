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
from headrace.registry.desired import DesiredKey, parse_key
from headrace.registry.leases import Change, How, Kind, LeaseKey
from headrace.registry.records import (
    LAYER_MAX,
    ClaimRecord,
    InvalidRecord,
    NodeRecord,
    Record,
    StreamNumbers,
    StreamRecord,
    decode_claim,
    decode_node,
    decode_stream,
)

REFUSED_MAX = 1000
"""Most foreign records remembered so that each is complained of once."""


NUMBERS_MAX = 10_000
"""Most streams whose numbers are remembered; those told of longest ago are forgotten first."""


class View:
    """The last known records of a cluster.

    Attributes:
        nodes, streams, claims: read-only views that change when this does.
        numbers: the greatest numbers told of each stream, also of those that are gone.
    """

    def __init__(self, on_refused: Callable[[LeaseKey, str], None]) -> None:
        """Call `on_refused` with each record that cannot be believed, and why, once until it becomes good or goes."""
        self._on_refused = on_refused
        self._nodes: dict[NodeId, NodeRecord] = {}
        self._streams: dict[StreamName, StreamRecord] = {}
        self._claims: dict[DesiredKey, ClaimRecord] = {}
        self._own: dict[LeaseKey, Record] = {}
        self._doubted: dict[LeaseKey, float] = {}
        self._refused: set[LeaseKey] = set()
        self._numbers: dict[StreamName, StreamNumbers] = {}
        self.numbers: Mapping[StreamName, StreamNumbers] = MappingProxyType(self._numbers)
        self.nodes: Mapping[NodeId, NodeRecord] = MappingProxyType(self._nodes)
        self.streams: Mapping[StreamName, StreamRecord] = MappingProxyType(self._streams)
        self.claims: Mapping[DesiredKey, ClaimRecord] = MappingProxyType(self._claims)

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

    def replace(self, records: Mapping[LeaseKey, bytes], grace_until: float, sampled: bool = False) -> bool:
        """Apply a full reading; what is missing in it is doubted until `grace_until`. Return whether that changed.

        With `sampled`, the reading has some edges only, and those that it lacks are not shown any more.
        """
        changed = False
        for key, data in records.items():
            if key not in self._own:
                changed |= self._believe(key, data)
        for key in self._known() - records.keys() - self._own.keys():
            if sampled and key.kind is Kind.NODE and self._nodes[NodeId(key.name)].layer == LAYER_MAX:
                changed |= self._hide(key)
            else:
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
        if key.kind is Kind.NODE:
            return self._nodes.get(NodeId(key.name))
        if key.kind is Kind.STREAM:
            return self._streams.get(StreamName(key.name))
        claim = parse_key(key.name)
        return None if claim is None else self._claims.get(claim)

    def _known(self) -> set[LeaseKey]:
        nodes = {LeaseKey(Kind.NODE, name) for name in self._nodes}
        claims = {LeaseKey(Kind.CLAIM, str(key)) for key in self._claims}
        return nodes | claims | {LeaseKey(Kind.STREAM, name) for name in self._streams}

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
        elif isinstance(record, StreamRecord):
            self._streams[StreamName(key.name)] = record
            self._remember(StreamName(key.name), record.numbers())
        elif (claim := parse_key(key.name)) is not None:
            self._claims[claim] = record
        return before != record

    def _remember(self, name: StreamName, numbers: StreamNumbers) -> None:
        known = self._numbers.pop(name, None)
        self._numbers[name] = numbers if known is None else known.grown(numbers)
        while len(self._numbers) > NUMBERS_MAX:
            del self._numbers[next(iter(self._numbers))]

    def _hide(self, key: LeaseKey) -> bool:
        self._doubted.pop(key, None)
        if key.kind is Kind.NODE:
            return self._nodes.pop(NodeId(key.name), None) is not None
        if key.kind is Kind.STREAM:
            return self._streams.pop(StreamName(key.name), None) is not None
        claim = parse_key(key.name)
        return claim is not None and self._claims.pop(claim, None) is not None


def parse_record(key: LeaseKey, data: bytes) -> Record:
    """Return the record that `data` holds and that stands under `key`.

    Raises:
        InvalidRecord: when it cannot be believed.
    """
    match key.kind:
        case Kind.NODE:
            return decode_node(data, key.name)
        case Kind.STREAM:
            return decode_stream(data, key.name)
        case Kind.CLAIM if parse_key(key.name) is not None:
            return decode_claim(data, key.name)
        case _:
            raise InvalidRecord(f"{key.kind.value} {key.name[:128]!r} is no lease that is known here")
