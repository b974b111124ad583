"""What one process announces: its records, and what of them the store has yet to hear. Pure bookkeeping."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from headrace.registry.leases import Kind, Lease, LeaseKey
from headrace.registry.records import LAYER_MAX, NodeRecord, StreamRecord, encode_record
from headrace.registry.telling import Urgency, urgency

OwnRecord = NodeRecord | StreamRecord

Wait = Callable[[OwnRecord, int], float]
"""Returns how long changes of a record, of so many bytes, may have to wait; in seconds."""


class Kept:
    """The records that a process keeps alive.

    Args:
        holder: who holds this process's node leases; different for every process that ever ran.
    """

    def __init__(self, holder: str) -> None:
        self._holder = holder
        self._records: dict[LeaseKey, OwnRecord] = {}
        self._unsent: set[LeaseKey] = set()
        self._told: dict[LeaseKey, tuple[OwnRecord, float]] = {}
        self._withdrawn: dict[LeaseKey, Lease] = {}
        self.due_at: float | None = None
        """When the first of what waits is to be taken, in seconds of the caller's clock."""

    def __contains__(self, key: LeaseKey) -> bool:
        return key in self._records

    def keep(self, record: OwnRecord) -> LeaseKey | None:
        """Keep `record` from now on; return its key when that is news for the store, else `None`.

        Raises:
            InvalidRecord: when others would refuse it; nothing is changed then.
        """
        key = record_key(record)
        if self._records.get(key) == record:
            return None
        encode_record(record)
        self._records[key] = record
        self._withdrawn.pop(key, None)
        self._unsent.add(key)
        return key

    def drop(self, key: LeaseKey) -> bool:
        """Keep `key` no more and remember to withdraw it; return whether it was kept."""
        if key not in self._records:
            return False
        self._withdrawn[key] = self.lease(key)
        self.forget(key)
        return True

    def forget(self, key: LeaseKey) -> None:
        """Keep `key` no more; the lease in the store is not ours."""
        self._records.pop(key, None)
        self._told.pop(key, None)
        self._unsent.discard(key)

    def lease(self, key: LeaseKey, told: bool = True) -> Lease:
        """Return the lease to put for the record kept under `key`."""
        record = self._records[key]
        if isinstance(record, NodeRecord):
            crowd = record.layer == LAYER_MAX
            return Lease(key, -record.generation, self._holder, encode_record(record), None, told, crowd)
        return Lease(key, record.epoch, record.node, encode_record(record), record.numbers(), told)

    def leases(self) -> list[Lease]:
        """Return the leases of everything kept."""
        return [self.lease(key) for key in self._records]

    def take_unsent(self, now: float, wait: Wait) -> list[Lease]:
        """Return what the store is to hear now, and count it as heard; `due_at` says when there is more."""
        taken, self.due_at = [], None
        for key in tuple(self._unsent):
            record = self._records[key]
            before, told_at = self._told.get(key, (None, 0.0))
            urgent = urgency(before, record)
            lease = self.lease(key)
            due = now if urgent is Urgency.NOW else told_at + wait(record, len(lease.record))
            if due <= now:
                self._told[key] = record, now
                taken.append(lease)
            elif urgent is Urgency.QUIET:
                taken.append(self.lease(key, told=False))
            else:
                self.due_at = min(due, self.due_at or due)
                continue
            self._unsent.discard(key)
        return taken

    def send_again(self, keys: Iterable[LeaseKey]) -> None:
        """Count `keys`, as far as they are still kept, as not heard; they wait no more."""
        for key in keys:
            if key in self._records:
                self._unsent.add(key)
                self._told.pop(key, None)

    @property
    def streams(self) -> Sequence[LeaseKey]:
        """The keys of the streams kept."""
        return [key for key in self._records if key.kind is Kind.STREAM]

    @property
    def withdrawn(self) -> Sequence[Lease]:
        """Leases to remove from the store."""
        return list(self._withdrawn.values())

    def removed(self, leases: Iterable[Lease]) -> None:
        """Count withdrawn leases as removed."""
        for lease in leases:
            if self._withdrawn.get(lease.key) is lease:
                del self._withdrawn[lease.key]


def record_key(record: OwnRecord) -> LeaseKey:
    """Return the key that `record` stands under."""
    if isinstance(record, StreamRecord):
        return LeaseKey(Kind.STREAM, record.stream)
    return LeaseKey(Kind.NODE, record.node)


class Taken:
    """Another process holds a node id of ours.

    Attributes:
        since: when that was first seen, in seconds of the caller's clock.
        told: whether it was told as a fact, after a predecessor that crashed would have been forgotten.
        sentence: for people.
    """

    def __init__(self, node: str, other: NodeRecord, since: float) -> None:
        self.since = since
        self.told = False
        at = f" at {other.relay_url or other.public_url}" if other.relay_url or other.public_url else ""
        self.sentence = f"node id {node!r} is in use by another process{at}: give each process a node id of its own"
