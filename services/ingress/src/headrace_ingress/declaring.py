"""Writing a stream to its broadcast, with what its tracks take declared as it is."""

from __future__ import annotations

from headrace.identifiers import Epoch
from headrace.media.rates import Rates
from headrace.relay.broadcast import Broadcast
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track


class Declaring:
    """The way of a feed's chunks into its broadcast, over all its epochs."""

    def __init__(self, broadcast: Broadcast) -> None:
        self._broadcast = broadcast
        self._rates = Rates()

    def open(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        """Begin an epoch, with the rates that its tracks are known to have."""
        self._broadcast.open(epoch, self._rates.begin(epoch, tracks))

    def append(self, chunk: Chunk) -> None:
        """Add a chunk; where its segment shows that declared rates are wrong, tell the right ones after it."""
        self._broadcast.append(chunk)
        tracks = self._rates.take(chunk)
        if tracks is not None:
            self._broadcast.open(chunk.id.epoch, tracks)
