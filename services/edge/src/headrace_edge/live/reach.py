"""How far ahead of a stream's end may be asked for, and waited for. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from headrace.media.segments import part_target, target_seconds
from headrace.relay.window import TrackWindow
from headrace_edge.live.outlet import Outlet
from headrace_edge.live.paths import Media, Timed

AHEAD_MAX_SEGMENTS = 2
"""How many segments beyond the newest may be waited for (8216bis, 6.2.5.2)."""


class BadQuery(ValueError):
    """A delivery directive that makes no sense."""


def directives(query: Mapping[str, str]) -> tuple[int, int | None] | None:
    """Return segment and part of the delivery directives (8216bis, 6.2.5.2), `None` when there are none.

    Raises:
        BadQuery: when they are no numbers, or there is a part without a segment.
    """
    segment, part = query.get("_HLS_msn"), query.get("_HLS_part")
    if segment is None:
        if part is not None:
            raise BadQuery("_HLS_part needs _HLS_msn")
        return None
    for name, text in (("_HLS_msn", segment), ("_HLS_part", part)):
        if text is not None and not (text.isascii() and text.isdigit() and len(text) <= 19):
            raise BadQuery(f"{name} is a whole number from 0")
    return int(segment), None if part is None else int(part)


def check_reach(window: TrackWindow, segment: int, part: int | None) -> None:
    """Refuse what is too far ahead of the end.

    Raises:
        BadQuery: when nobody who read a playlist would ask for it.
    """
    newest = window.newest
    if newest is None:
        return
    if segment > newest.number + AHEAD_MAX_SEGMENTS:
        raise BadQuery(f"segment {segment} is too far ahead: the newest is {newest.number}")
    longest = part_target(newest.track)
    limit = 3 if longest >= 1 else math.ceil(3 / longest)
    had = newest.parts_complete if segment == newest.number and not newest.closed else 0
    if (
        part is not None
        and segment >= newest.number
        and not newest.closed
        and part > had + limit + _usual_parts(window)
    ):
        raise BadQuery(f"part {part} of segment {segment} is too far ahead")


def _usual_parts(window: TrackWindow) -> int:
    """Return how many parts the segments of late have, at most."""
    return max((len(segment.parts) for segment in list(window.segments.values())[-8:]), default=0)


def may_come(outlet: Outlet, media: Media) -> bool:
    """Return whether it is worth waiting for: it is of this epoch, and in the newest segment or just after it."""
    window = outlet.window.windows.get(media.track)
    if window is None or (newest := window.newest) is None:
        return False
    if media.epoch != outlet.window.epoch or outlet.window.ended:
        return False
    if media.part is not None and media.part > 2 * _usual_parts(window) + 64:
        return False
    return newest.number <= media.segment <= newest.number + AHEAD_MAX_SEGMENTS


def may_come_at(outlet: Outlet, timed: Timed) -> bool:
    """Return whether a segment may begin at a time soon: not before the newest one, and not long after it.

    Also when the stream has ended: FFmpeg does not notice that, and would ask again at once.
    """
    window = outlet.window.windows.get(timed.track)
    if window is None or (newest := window.newest) is None:
        return False
    limit = newest.end + AHEAD_MAX_SEGMENTS * target_seconds(newest.track) * newest.track.timescale
    return newest.start <= timed.time <= limit
