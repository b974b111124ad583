"""The viewers of all workers as those of one node. Pure.

A viewer of HLS whose requests went to two workers is one viewer, as its id says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field

from headrace.access.passes import LISTED_MAX, STREAMS_COUNTED_MAX
from headrace.access.records import AudienceChange, Counts, ViewerRecord, add_counts


@dataclass(slots=True)
class _OfWorker:
    viewers: dict[str, ViewerRecord] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)


class Audiences:
    """What each worker told of its viewers, and what of that the store was told."""

    def __init__(self) -> None:
        self._workers: dict[Hashable, _OfWorker] = {}
        self._at: dict[str, list[Hashable]] = {}
        self._changed: set[str] = set()
        self._listed: set[str] = set()
        self.changed = False

    def take(self, worker: Hashable, change: AudienceChange) -> int:
        """Note what a worker tells; return how many it lists now, as the store would."""
        told = self._workers.setdefault(worker, _OfWorker())
        came = {record.id: record for record in change.came}
        gone = set(told.viewers) - came.keys() if change.whole else change.gone
        for viewer in gone:
            self._remove(worker, told, viewer)
        for viewer, record in came.items():
            if viewer not in told.viewers:
                self._at.setdefault(viewer, []).append(worker)
            told.viewers[viewer] = record
            self._changed.add(viewer)
        self.changed |= bool(came or gone) or change.counts != told.counts
        told.counts = change.counts
        return len(told.viewers)

    def forget(self, worker: Hashable) -> None:
        """A worker is gone, and its viewers with it."""
        told = self._workers.pop(worker, None)
        for viewer in tuple(told.viewers) if told is not None else ():
            assert told is not None
            self._remove(worker, told, viewer)
        self.changed |= told is not None

    def change(self, *, whole: bool) -> AudienceChange:
        """Return what the store is to be told now; it counts as told, unless the whole is asked for again."""
        if whole:
            self._listed, self._changed = set(), set(self._at)
        gone = {viewer for viewer in self._changed if viewer not in self._at} & self._listed
        self._listed -= gone
        here = [viewer for viewer in self._changed if viewer in self._at]
        room = max(0, LISTED_MAX - len(self._listed))
        new = [viewer for viewer in here if viewer not in self._listed][:room]
        again = [viewer for viewer in here if viewer in self._listed]
        self._listed.update(new)
        came = [self._workers[self._at[viewer][-1]].viewers[viewer] for viewer in (*new, *again)]
        self._changed, self.changed = set(), False
        return AudienceChange(came, tuple(gone), self.counts(), whole, len(self._listed))

    def counts(self) -> Counts:
        """Return how many there are, each viewer once."""
        whole = add_counts({str(worker): told.counts for worker, told in self._workers.items()})
        streams, doors, again = Counter(whole.streams), Counter(whole.doors), 0
        for viewer, workers in self._at.items():
            for worker in workers[1:]:
                record = self._workers[worker].viewers[viewer]
                streams[record.stream] -= 1
                doors[record.door] -= 1
                again += 1
        return Counts(
            viewers=whole.viewers - again,
            streams={name: most for name, most in streams.most_common(STREAMS_COUNTED_MAX) if most > 0},
            doors={door: most for door, most in doors.items() if most > 0},
        )

    def _remove(self, worker: Hashable, told: _OfWorker, viewer: str) -> None:
        if told.viewers.pop(viewer, None) is None:
            return
        workers = self._at[viewer]
        workers.remove(worker)
        if not workers:
            del self._at[viewer]
        self._changed.add(viewer)
