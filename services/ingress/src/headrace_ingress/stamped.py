"""Packets of one track, whose stamps are mended before anything else is done with them."""

from __future__ import annotations

from typing import Any

import av

from headrace_ingress.timing import Stamps, TrackClock


class Stamped:
    """What a track does with its packets' stamps, whatever becomes of the packets."""

    def __init__(self, clock: TrackClock) -> None:
        self._clock = clock

    def mend(self, packet: av.Packet[Any]) -> None:
        """Undo wraps of its stamps; to be called before `push` where nobody says when it arrived."""
        stamps = self._clock.mended(Stamps(packet.pts, packet.dts, 0))
        packet.pts, packet.dts = stamps.pts, stamps.dts

    def arrived(self, packet: av.Packet[Any], utc: float) -> None:
        """Take note of when a packet came; to be told before `push`, and of all packets that came together."""
        stamps = self._clock.arrived(Stamps(packet.pts, packet.dts, 0), utc)
        packet.pts, packet.dts = stamps.pts, stamps.dts
