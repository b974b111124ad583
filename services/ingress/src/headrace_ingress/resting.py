"""When a reader may rest: most of what a live feed costs is being woken for each packet, not reading it. Pure.

A chunk is several packets, and none of them leaves before the last has come. So a reader that has just completed a
chunk rests until the next one can be complete, and takes what came meanwhile in one go. What comes earlier waits in the
socket; a chunk is late by no more than `SLACK_SECONDS`.

When a chunk is due is known from when earlier packets came: a read that had to wait returned at the moment its packet
arrived. That is believed for a while and then seen anew, by not resting until a read had to wait again. A read that
took long after a rest tells nothing: what it was for had come before, and it lacked a processor. To believe it would
make each rest longer than the one before, on a machine where the reader is late anyway.
"""

from __future__ import annotations

SLACK_SECONDS = 0.002
"""Rest so much longer than media time says: packets come a little late as often as early, and a read that has to wait
after all costs another wake-up."""

REST_MIN_SECONDS = 0.02
"""Shortest rest worth its own system call and wake-up."""

REST_MAX_SECONDS = 0.25
"""Longest rest, whatever the chunks: less than an operator waits for a feed to stop, and than sockets hold."""

WAITED_SECONDS = 0.0005
"""A read that took so long had to wait."""

BELIEF_SECONDS = 1.0
"""How long an arrival tells when later ones are due: clocks drift and networks change."""

CREEP_SECONDS = 0.001
"""How much later than the earliest one an arrival may make the next ones due: one late packet is no rule."""


class Rest:
    """Says for how long one reader may rest after a chunk was completed."""

    def __init__(self) -> None:
        self._offset: float | None = None
        self._believed_until = 0.0
        self._rested = False

    def seconds(self, newest: float, due: float, waited: float, now: float) -> float:
        """Return how long to rest before the next read, 0 for not at all.

        Args:
            newest: media time of the sample that completed the chunk, in seconds by the source's clock.
            due: media time of the one that can complete the next.
            waited: how long the read of the first one took.
            now: the moment after that, by a monotonic clock.
        """
        offset = self._offset
        if waited >= WAITED_SECONDS:
            arrived = now - newest
            known = offset is not None and abs(arrived - offset) <= BELIEF_SECONDS
            if offset is None or not known:
                self._offset = offset = arrived
                self._believed_until = now + BELIEF_SECONDS
            elif not self._rested:
                self._offset = offset = min(arrived, offset + CREEP_SECONDS)
                self._believed_until = now + BELIEF_SECONDS
        rest = 0.0 if offset is None or now > self._believed_until else offset + due + SLACK_SECONDS - now
        self._rested = rest >= REST_MIN_SECONDS
        return min(rest, REST_MAX_SECONDS) if self._rested else 0.0
