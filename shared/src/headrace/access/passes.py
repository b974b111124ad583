"""What lets one viewer watch, and what is known of who watches."""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from headrace.access.policy import Asked, Mode
from headrace.access.records import AudienceChange, Counts, ViewerRecord
from headrace.access.tokens import ViewerToken
from headrace.access.viewing import Seat

LISTED_MAX: Final = 20_000
"""Most viewers of one edge that are told one by one, some 5 MB in the store; those beyond are only counted."""

STREAMS_COUNTED_MAX: Final = 1_000
"""Most streams whose viewers an edge counts by name, the most watched first; the others are in its total."""


@dataclass(slots=True, eq=False)
class Pass:
    """What lets one viewer watch.

    Attributes:
        asked: for what.
        token: with which token; `None` for a public stream.
        seat: the session that is counted; `None` when nothing counts it.
        viewer: the id under which it is listed; empty for what is not listed.
        since_us: when it was let in, UTC in microseconds.
        mode: what held for the stream then.
    """

    asked: Asked
    token: ViewerToken | None = None
    seat: Seat | None = None
    viewer: str = ""
    since_us: int = 0
    mode: Mode = "public"
    _ended: tuple[str, str] | None = field(default=None, repr=False)
    _on_end: Callable[[str, str], None] | None = field(default=None, repr=False)

    @property
    def ended(self) -> tuple[str, str] | None:
        """The short word and the sentence that it ended with; `None` while it holds."""
        return self._ended

    def when_ended(self, tell: Callable[[str, str], None]) -> None:
        """Call `tell` once, with a short word and a sentence, when the viewer must go; at once when it must already."""
        self._on_end = tell
        if self._ended is not None:
            tell(*self._ended)

    def end(self, code: str, reason: str) -> None:
        """Tell that the viewer must go."""
        if self._ended is None:
            self._ended = (code, reason)
            if self._on_end is not None:
                self._on_end(code, reason)

    def record(self) -> ViewerRecord:
        """Return what is told of this viewer; nothing in it lets anybody else watch."""
        return ViewerRecord(
            id=self.viewer,
            stream=self.asked.stream,
            door=self.asked.door,
            since_us=self.since_us,
            token=self.token.id if self.token is not None else "",
            subject=self.token.subject if self.token is not None else "",
            address=self.asked.address,
            origin=self.asked.origin or "",
        )


def viewer_id(asked: Asked, token: ViewerToken | None) -> str:
    """Return 16 hex digits: of the viewing session, so that they stay when it moves; made up where there is none."""
    if not asked.session:
        return secrets.token_hex(8)
    named = f"{token.id if token is not None else ''}\n{asked.session}"
    return hashlib.blake2b(named.encode(), digest_size=8).hexdigest()


class Audience:
    """The viewers of one edge, and what of them the store has still to be told."""

    def __init__(self) -> None:
        self._here: dict[str, list[Pass]] = {}
        self._streams: Counter[str] = Counter()
        self._doors: Counter[str] = Counter()
        self._came: set[str] = set()
        self._gone: set[str] = set()
        self._listed: set[str] = set()

    def __len__(self) -> int:
        return sum(self._doors.values())

    @property
    def changed(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._came or self._gone)

    def named(self, viewer: str) -> tuple[Pass, ...]:
        """Return the passes that are listed under an id."""
        return tuple(self._here.get(viewer, ()))

    def add(self, held: Pass) -> None:
        """Note a viewer that came."""
        self._here.setdefault(held.viewer, []).append(held)
        self._streams[held.asked.stream] += 1
        self._doors[held.asked.door] += 1
        self._came.add(held.viewer)
        self._gone.discard(held.viewer)

    def remove(self, held: Pass) -> None:
        """Note a viewer that went."""
        passes = self._here[held.viewer]
        passes.remove(held)
        for counter, name in ((self._streams, held.asked.stream), (self._doors, held.asked.door)):
            counter[name] -= 1
            if not counter[name]:
                del counter[name]
        if passes:
            self._came.add(held.viewer)  # another connection of the same session is told instead
            return
        del self._here[held.viewer]
        self._came.discard(held.viewer)
        if held.viewer in self._listed:
            self._gone.add(held.viewer)

    def change(self, *, whole: bool) -> AudienceChange:
        """Return what is to be told now; it counts as told, unless `change` is asked for the whole again."""
        if whole:
            self._listed = set()
            self._came, self._gone = set(self._here), set()
        self._listed -= self._gone
        room = LISTED_MAX - len(self._listed)
        new = [viewer for viewer in self._came if viewer not in self._listed][: max(0, room)]
        again = [viewer for viewer in self._came if viewer in self._listed]
        self._listed.update(new)
        told = [self._here[viewer][-1].record() for viewer in (*new, *again)]
        change = AudienceChange(told, tuple(self._gone), self.counts(), whole, len(self._listed))
        self._came, self._gone = set(), set()
        return change

    def counts(self) -> Counts:
        """Return how many there are."""
        return Counts(
            viewers=len(self), streams=dict(self._streams.most_common(STREAMS_COUNTED_MAX)), doors=dict(self._doors)
        )
