"""The hub: every stream of this process by name, and who wants which.

Producers (packagers, upstream links) and consumers (viewers, children) never meet but here. A stream that is carried
from elsewhere lives on demand: the first `Demand` for it calls `on_demand`, after the last is released and the linger
has passed whoever fetches it lets it go (headrace.session). Pure: time and fetching are others' business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from headrace.identifiers import StreamName
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
        on_demand: called with the name and the number of demands when the first demand for a stream comes (1) and when
            the last one goes (0), for streams that are not produced here.
        on_streams: called with no argument after a stream appeared or went.
    """

    def __init__(self, limits: RingLimits | None = None) -> None:
        self._limits = limits or RingLimits()
        self._broadcasts: dict[StreamName, Broadcast] = {}
        self._demands: dict[StreamName, int] = {}
        self._produced: set[StreamName] = set()
        self.on_demand: Callable[[StreamName, int], None] = lambda name, count: None
        self.on_streams: set[Callable[[], None]] = set()

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

    def produce(self, name: StreamName) -> Broadcast:
        """Return the broadcast that a source in this process writes `name` to."""
        self._produced.add(name)
        return self._get(name)

    def retire(self, name: StreamName) -> None:
        """The source in this process is gone for good; consumers keep their broadcast until they release it."""
        self._produced.discard(name)
        self._drop_if_idle(name)

    def demand(self, name: StreamName) -> Demand:
        """Ask for a stream, which need not exist yet.

        Raises:
            TooManyStreams: when it is unknown here and `STREAMS_MAX` streams are carried.
        """
        broadcast = self._get(name)
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
            del self._broadcasts[name]
            self._changed()

    def _changed(self) -> None:
        for listener in tuple(self.on_streams):
            listener()
