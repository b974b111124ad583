"""What edges tell of their viewers, as it stands in the store. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec


class ViewerRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One viewer, as its edge tells of it.

    Attributes:
        id: names the viewing session, and is the same at whatever edge it goes on.
        stream: what is watched.
        door: by which way: `play`, `fmp4` or `live`.
        since_us: when it came to this edge, UTC in microseconds.
        token: id of the token or licence that let it in; empty for public streams.
        subject: whom the token is for.
        address: of the connection.
        origin: of the page, empty when it is none.
    """

    id: str
    stream: str
    door: str
    since_us: int
    token: str = ""
    subject: str = ""
    address: str = ""
    origin: str = ""


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many watch at one edge: together, by stream and by door."""

    viewers: int = 0
    streams: dict[str, int] = {}
    doors: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class AudienceChange:
    """What an edge tells of its viewers.

    Attributes:
        came, gone: since it told last; of those who have gone the ids.
        counts: now.
        whole: whether `came` is everybody, and what was told before is void.
        listed: how many are told one by one after this.
    """

    came: Sequence[ViewerRecord]
    gone: Sequence[str]
    counts: Counts
    whole: bool
    listed: int


def add_counts(found: Mapping[str, Counts]) -> Counts:
    """Return the sums over nodes."""
    streams: Counter[str] = Counter()
    doors: Counter[str] = Counter()
    for counts in found.values():
        streams.update(counts.streams)
        doors.update(counts.doors)
    return Counts(viewers=sum(counts.viewers for counts in found.values()), streams=dict(streams), doors=dict(doors))
