"""The desired records as one process knows them: what is told, what it changes itself, and what the store lost.

Desired records have no owner that would write them again. So everybody who knows them remembers them for the store:
what a full reading lacks, or has in an older revision, and nobody dropped, is written back, by whoever comes first
after a random wait. A process that was away for longer than the store remembers what was dropped believes the store.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from headrace.registry.desired import (
    Desired,
    DesiredConflict,
    DesiredEntry,
    DesiredKey,
    decode_desired,
    desired_key,
    encode_desired,
    parse_key,
    split_stored,
)
from headrace.registry.leases import DROPPED_SECONDS, Change, DesiredReading, How, Kind, LeaseKey, LeaseStore
from headrace.registry.records import InvalidRecord
from headrace.registry.sealing import Vault

BELIEVED_SECONDS: Final = DROPPED_SECONDS / 2
"""How long a process may have been away and still restore what the store lacks."""

DROPS_KNOWN_MAX: Final = 1000
"""Most records whose dropping is remembered here; only readings that began before it could bring them back."""


class Orders:
    """What is desired, as last known.

    Args:
        store: where the records are.
        vault: seals and opens their addresses.
        restore_seconds: the longest random wait before what the store lost is restored.
        on_refused: called with each record that cannot be believed, and why.
        on_changed: called with the keys of what changed.
    """

    def __init__(
        self,
        store: LeaseStore,
        vault: Vault,
        restore_seconds: float,
        on_refused: Callable[[LeaseKey, str], None],
        on_changed: Callable[[frozenset[DesiredKey]], None],
    ) -> None:
        self._store = store
        self._vault = vault
        self.tag = vault.tag
        self._restore_seconds = restore_seconds
        self._on_refused = on_refused
        self._on_changed = on_changed
        self._entries: dict[DesiredKey, DesiredEntry] = {}
        self._dropped: dict[DesiredKey, int] = {}
        self._refused: dict[DesiredKey, int] = {}
        self._lost: set[DesiredKey] = set()
        self._read_at: float | None = None
        self.entries: Mapping[DesiredKey, DesiredEntry] = MappingProxyType(self._entries)
        self.restore_at: float | None = None
        """When `restore` has something to do, in the caller's time."""

    async def put(self, record: Desired, expect: int | None) -> int:
        """Write one; see `Registry.put_desired`."""
        key = desired_key(record)
        stored = await self._store.put_desired(key, encode_desired(record, self._vault), expect, self._floor(key))
        self._believe(key, stored)
        return split_stored(stored)[0]

    async def drop(self, key: DesiredKey, expect: int | None) -> bool:
        """Remove one; see `Registry.drop_desired`."""
        revision = await self._store.drop_desired(key, expect, self._floor(key))
        if revision is not None:
            self._forget(key, revision)
        elif key in self._entries and self._entries[key].revision == expect:
            raise DesiredConflict(key, 0)
        return revision is not None

    def apply(self, change: Change) -> None:
        """Apply what was told."""
        key = parse_key(change.key.name)
        if key is None:
            return
        if change.how is How.PUT:
            self._believe(key, change.record)
        elif change.how is How.REMOVED:
            self._forget(key, split_stored(change.record)[0])

    async def read(self, now: float) -> None:
        """Read everything."""
        reading = await self._store.read_desired()
        trusted = self._read_at is not None and now - self._read_at < BELIEVED_SECONDS
        self._read_at = now
        for key, stored in reading.stored.items():
            self._believe(key, stored)
        for key, entry in tuple(self._entries.items()):
            self._compare(key, entry, reading, trusted)
        if self._lost and self.restore_at is None:
            self.restore_at = now + random.uniform(0.0, self._restore_seconds)

    async def restore(self) -> int:
        """Write back what the store lost and nobody else restored meanwhile; return how many that were."""
        self.restore_at = None
        lost = {key: self._entries[key].stored for key in self._lost if key in self._entries}
        if lost:
            await self._store.restore_desired(lost)
        self._lost.clear()
        return len(lost)

    def _compare(self, key: DesiredKey, entry: DesiredEntry, reading: DesiredReading, trusted: bool) -> None:
        stored = split_stored(reading.stored[key])[0] if key in reading.stored else 0
        dropped = reading.dropped.get(key, 0)
        if dropped >= entry.revision:
            self._forget(key, dropped)
        elif stored < entry.revision and trusted:
            self._lost.add(key)
        elif not stored:
            self._forget(key, entry.revision)

    def _floor(self, key: DesiredKey) -> int:
        known = self._entries[key].revision if key in self._entries else 0
        return max(known, self._dropped.get(key, 0))

    def _believe(self, key: DesiredKey, stored: bytes) -> None:
        revision = split_stored(stored)[0]
        current = self._entries.get(key)
        if current is not None and revision == current.revision:
            self._lost.discard(key)  # somebody restored it
            return
        if revision <= self._floor(key) and revision:
            return
        try:
            entry = decode_desired(stored, key, self._vault)
        except InvalidRecord as error:
            if self._refused.get(key) != revision and len(self._refused) < DROPS_KNOWN_MAX:
                self._refused[key] = revision
                self._on_refused(LeaseKey(Kind.DESIRED, str(key)), str(error))
            return
        self._refused.pop(key, None)
        self._lost.discard(key)
        self._entries[key] = entry
        self._on_changed(frozenset((key,)))

    def _forget(self, key: DesiredKey, revision: int) -> None:
        while len(self._dropped) >= DROPS_KNOWN_MAX:
            del self._dropped[next(iter(self._dropped))]
        self._dropped[key] = max(revision, self._dropped.get(key, 0))
        self._refused.pop(key, None)
        entry = self._entries.get(key)
        if entry is not None and entry.revision <= revision:
            del self._entries[key]
            self._lost.discard(key)
            self._on_changed(frozenset((key,)))
