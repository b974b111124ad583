"""The hub: every stream of this process by name, and who wants which.

Producers (packagers, upstream links) and consumers (viewers, children) never meet but here. A stream that is carried
from elsewhere lives on demand: the first `Demand` for it calls `on_demand`, after the last is released and the linger
has passed whoever fetches it lets it go (headrace.session). Pure: time and fetching are others' business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace.identifiers import ChunkId, StreamName
from headrace.relay.broadcast import Broadcast, RingLimits

STREAMS_MAX = 10_000
"""Most streams in one process: each costs a ring and an index; a name is made by anybody who asks for it."""


class TooManyStreams(Exception):
    """The process carries as many streams as it may; who asks for another is refused."""

    def __str__(self) -> str:
        return f"this node carries {STREAMS_MAX} streams already, its limit"


@dataclass(eq=False, slots=True)
class Demand:
    """Somebody's wish for a stream; release it once, when the wish ends."""

    broadcast: Broadcast
    _release: Callable[[StreamName], None] | None = field(repr=False)

    def release(self) -> None:
        """End the wish; a second call does nothing."""
        if self._release is not None:
            release, self._release = self._release, None
            release(self.broadcast.name)


class Hub:
    """All broadcasts of one process.

    Attributes:
        on_demand: called with a name and 1 when a stream is to be fetched from elsewhere: its first demand came, or its
            source here went; and with 0 when it is not any more: its last demand went, or it is produced here.
        may_produce: whether this process's node may have a stream's source.
        on_streams: called with no argument after a stream appeared or went.
        borne: how many more consumers there are than demands: who demands a stream may do so for many.
    """

    def __init__(self, limits: RingLimits | None = None) -> None:
        self._limits = limits or RingLimits()
        self._broadcasts: dict[StreamName, Broadcast] = {}
        self._demands: dict[StreamName, int] = {}
        self._produced: set[StreamName] = set()
        self._begin_after: dict[StreamName, Mapping[int, ChunkId]] = {}
        self.may_produce: Callable[[StreamName], bool] = lambda name: True
        self.on_demand: Callable[[StreamName, int], None] = lambda name, count: None
        self.on_streams: set[Callable[[], None]] = set()
        self.borne = 0

    @property
    def streams(self) -> Mapping[StreamName, Broadcast]:
        """Every stream known here, produced or carried."""
        return self._broadcasts

    def produced(self, name: StreamName) -> bool:
        """Return whether the stream's source is in this process."""
        return name in self._produced

    def demands(self, name: StreamName) -> int:
        """Return how many consumers want the stream now."""
        return self._demands.get(name, 0)

    @property
    def demands_total(self) -> int:
        """How many consumers want streams of this process now."""
        return max(0, sum(self._demands.values()) + self.borne)  # demands may have gone since `borne` was told

    def begin_after(self, name: StreamName) -> Mapping[int, ChunkId] | None:
        """Return after which chunks a carried stream should begin here, `None` for the newest random access point."""
        return self._begin_after.get(name)

    def produce(self, name: StreamName) -> Broadcast:
        """Return the broadcast that a source in this process writes `name` to.

        When consumers wait for it already, whoever fetches it for them is told by `on_demand` to stop.
        """
        broadcast = self._get(name)
        if name not in self._produced:
            self._produced.add(name)
            if name in self._demands:
                self.on_demand(name, 0)
        return broadcast

    def retire(self, name: StreamName) -> None:
        """The source in this process is gone for good; consumers keep their broadcast until they release it.

        While there are any, the stream is demanded from elsewhere.
        """
        if name in self._produced:
            self._produced.discard(name)
            if name in self._demands:
                self.on_demand(name, 1)
        self._drop_if_idle(name)

    def demand(self, name: StreamName, after: Mapping[int, ChunkId] | None = None) -> Demand:
        """Ask for a stream, which need not exist yet.

        Args:
            name: of the stream.
            after: the last chunk of each track that the consumer has had. A stream that was not carried here yet is
                then fetched from some time before that, so that this consumer and others, who lost the same parent at
                the same moment, miss nothing.

        Raises:
            TooManyStreams: when it is unknown here and `STREAMS_MAX` streams are carried.
        """
        broadcast = self._get(name)
        if after and broadcast.epoch == 0:
            self._begin_after.setdefault(name, {track: _a_segment_earlier(had) for track, had in after.items()})
        self._demands[name] = count = self._demands.get(name, 0) + 1
        if count == 1 and name not in self._produced:
            self.on_demand(name, 1)
        return Demand(broadcast, self._release)

    def forget(self, name: StreamName) -> None:
        """Let go of a carried stream that nobody wants any more; does nothing while somebody does."""
        self._drop_if_idle(name)

    def _get(self, name: StreamName) -> Broadcast:
        broadcast = self._broadcasts.get(name)
        if broadcast is None:
            if len(self._broadcasts) >= STREAMS_MAX:
                raise TooManyStreams
            broadcast = self._broadcasts[name] = Broadcast(name, self._limits)
            self._changed()
        return broadcast

    def _release(self, name: StreamName) -> None:
        self._demands[name] -= 1
        if self._demands[name] == 0:
            del self._demands[name]
            if name not in self._produced:
                self.on_demand(name, 0)

    def _drop_if_idle(self, name: StreamName) -> None:
        if name in self._broadcasts and name not in self._produced and not self._demands.get(name):
            self._broadcasts.pop(name).clear()
            self._begin_after.pop(name, None)
            self._changed()

    def _changed(self) -> None:
        for listener in tuple(self.on_streams):
            listener()


def _a_segment_earlier(had: ChunkId) -> ChunkId:
    """Return the first chunk of the segment before: siblings' last chunks differ by less."""
    return had._replace(segment=max(0, had.segment - 1), chunk=0)
