"""Who else wants what this process keeps: another owner of a stream, another process with our node id."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from headrace.registry.kept import Kept, Taken
from headrace.registry.leases import Change, How, Kind, Lease, LeaseKey
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.records import InvalidRecord, NodeRecord, StreamRecord, encode_record
from headrace.registry.view import View, parse_record

log = structlog.get_logger(__name__)


class Rivals:
    """Yields what is not ours, and tells whose it is.

    Args:
        view: what is shown.
        kept: what this process keeps.
        metrics: what is counted.
        patience_seconds: how long another process's hold on our node id is waited out.
        refuse: called with each record that cannot be believed, and why.
        changed: called after the view changed.
        fenced: called with the record of the owner who is right.
        taken: called with the record of the process that has our node id.
    """

    def __init__(
        self,
        view: View,
        kept: Kept,
        metrics: RegistryMetrics,
        patience_seconds: float,
        refuse: Callable[[LeaseKey, str], None],
        changed: Callable[[bool], None],
        fenced: Callable[[StreamRecord], None],
        taken: Callable[[NodeRecord], None],
    ) -> None:
        self._view = view
        self._kept = kept
        self._metrics = metrics
        self._patience_seconds = patience_seconds
        self._refuse = refuse
        self._changed = changed
        self._fenced = fenced
        self._taken = taken
        self._waiting: dict[LeaseKey, Taken] = {}

    @property
    def problem(self) -> str | None:
        """What is wrong, for people; `None` when all is well."""
        return next((taken.sentence for taken in self._waiting.values() if taken.told), None)

    def dropped(self, key: LeaseKey) -> None:
        """We do not want `key` any more."""
        self._waiting.pop(key, None)

    def granted(self, lease: Lease) -> None:
        """The store took our lease."""
        if self._waiting.pop(lease.key, None) is not None:
            log.info("node_id_is_ours", node=lease.key.name)

    def outranked(self, lease: Lease, data: bytes) -> None:
        """Somebody else holds what we keep, and is right."""
        try:
            other = parse_record(lease.key, data)
        except InvalidRecord as error:
            self._refuse(lease.key, str(error))
            return
        if isinstance(other, StreamRecord):
            self.check(lease.key, data)
        elif isinstance(other, NodeRecord) and lease.key in self._kept:
            self._wait_for(lease.key, other)

    def check(self, key: LeaseKey, data: bytes) -> None:
        """Give up the stream `key` if the record `data` is of an owner that is right."""
        if key.kind is not Kind.STREAM or key not in self._kept:
            return
        with suppress(InvalidRecord):
            other = parse_record(key, data)
            if isinstance(other, StreamRecord) and self._kept.lease(key).yields_to(other.epoch, other.node):
                self._fence(key, other)

    def _fence(self, key: LeaseKey, other: StreamRecord) -> None:
        ours = self._kept.lease(key)
        self._kept.forget(key)
        if other.state == "ended" and not other.generation:  # made up: its owner is gone
            self._changed(self._view.drop(key))
        else:
            self._view.release(key)
            self._changed(self._view.apply(Change(key, How.PUT, encode_record(other)), None))
        facts = {"stream": key.name, "epoch": ours.rank, "owner": other.node, "owner_epoch": other.epoch}
        if ours.rank:
            self._metrics.fenced.inc()
            log.warning("stream_fenced", **facts)
        else:  # nothing was published: mostly by a successor whose predecessor's record has a moment to live
            log.info("stream_not_free_yet", **facts)
        self._fenced(other)

    def _wait_for(self, key: LeaseKey, other: NodeRecord) -> None:
        """Wait out a predecessor that crashed; tell when it is alive."""
        now = asyncio.get_running_loop().time()
        taken = self._waiting.setdefault(key, Taken(key.name, other, now))
        if taken.told or now - taken.since < self._patience_seconds:
            return
        taken.told = True
        self._metrics.taken.inc()
        log.error("node_id_taken", node=key.name, other_started_us=other.started_us, other_url=other.relay_url)
        self._taken(other)
