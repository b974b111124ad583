"""Where the numbers of a stream go on that somebody else published before: no segment number is given out twice. Pure.

A publisher tells each segment's number as the segment begins, and may die before that is written; so whoever goes on
from what was written leaves one number out. Viewers are told so, as a gap. Where the store was away meanwhile, or the
numbers are old, their publisher may have gone on for as long as they are old: then as many are left out as it had the
time for.
"""

from __future__ import annotations

import math

from headrace.identifiers import Epoch
from headrace.registry.records import StreamNumbers
from headrace.relay.broadcast import Broadcast
from headrace_ingress.events import Numbers

UNTOLD_SEGMENTS = 1
"""How many segments a publisher may have begun beyond those that its durable numbers tell."""

STALE_SECONDS = 60.0
"""Age of durable numbers beyond which their publisher may have gone on without the store: a live one tells them with
each segment, which is every six seconds at the latest, and its lease ends soon after its death."""


def go_on_from(known: StreamNumbers | None, utc: float, segment_seconds: float) -> Numbers:
    """Return where to go on.

    Args:
        known: the durable numbers; `None` when there are none to be had.
        utc: the time now, in seconds.
        segment_seconds: the shortest that segments regularly are.
    """
    if known is None:
        return Numbers(Epoch(0), 0, 0.0)
    begin = known.next_segment
    if known.end_seconds > 0:  # otherwise nothing was ever published
        untold = untold_segments(utc - known.end_seconds, segment_seconds, known.overtaken)
        # Numbers began at UTC in seconds and grow more slowly.
        begin = min(begin + untold, max(begin + UNTOLD_SEGMENTS, int(utc)))
    return Numbers(Epoch(known.epoch), begin, known.end_seconds, known.epochs)


def untold_segments(age_seconds: float, segment_seconds: float, overtaken: bool = False) -> int:
    """Return how many segments may have been given out after durable numbers of that age were written."""
    if not overtaken and age_seconds <= STALE_SECONDS:
        return UNTOLD_SEGMENTS
    return UNTOLD_SEGMENTS + math.ceil(max(0.0, age_seconds) / segment_seconds)


def ring_numbers(broadcast: Broadcast) -> Numbers:
    """Return what this process knows of a stream by having published or carried it."""
    last = [chunk.id.segment for chunk in broadcast.last.values()]
    begun = any(chunk.id.epoch == broadcast.epoch for chunk in broadcast.last.values())
    epochs = max((track.discontinuity + begun for track in broadcast.tracks.values()), default=0)
    return Numbers(broadcast.epoch, max(last) + 1 if last else 0, 0.0, epochs)
