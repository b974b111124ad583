"""Whole answers kept ready: status line, headers and body of what many ask for, made once and written as they are.

Only public answers of 200 to a plain GET are kept. Media stay as they are for ever; a text is good for as long as its
outlet has not read on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Protocol

from prometheus_client import Counter

from headrace.http.request_ids import REQUEST_ID

READY_MAX = 256
"""Most answers kept for one stream: the parts of the newest segments of some tracks, and playlists."""

READY_MAX_BYTES = 16 * 1024 * 1024
"""Most bytes of them."""

_PLAIN_QUERY = re.compile(r"_HLS_msn=[0-9]{1,19}(&_HLS_part=[0-9]{1,5})?|_HLS_skip=YES", re.ASCII)


class Source(Protocol):
    """The stream that answers are of; `headrace_edge.live.outlet.Outlet` is one.

    Attributes:
        used_at: when it was asked for last, by the monotonic clock.
        turns: how often it has read on.
    """

    used_at: float
    turns: int


@dataclass(slots=True)
class Answer:
    """One whole answer.

    Attributes:
        source: the stream it is of.
        turn: `source.turns` for which it is good; `None` for ever.
        head: status line and headers but for `Date` and the empty line.
        body: what follows.
        requests: counts it.
        sent_bytes: counts its body, where that is media.
    """

    source: Source
    turn: int | None
    head: bytes
    body: bytes
    requests: Counter
    sent_bytes: Counter | None
    _second: int = -1
    _whole: bytes = b""

    def bytes_at(self, utc: float) -> bytes:
        """Return the answer, dated: caches reckon the age of what they keep from that."""
        second = int(utc)
        if second != self._second:
            self._second = second
            self._whole = b"%sDate: %s\r\n\r\n%s" % (self.head, formatdate(second, usegmt=True).encode(), self.body)
        return self._whole


@dataclass(slots=True)
class Shelf:
    """What one edge keeps ready, by the path that a request names, query included.

    Attributes:
        plain: for who takes no compression.
        packed: for who takes gzip; media are in both.
    """

    plain: dict[bytes, Answer] = field(default_factory=dict)
    packed: dict[bytes, Answer] = field(default_factory=dict)
    _held: dict[int, dict[bytes, int]] = field(default_factory=dict)
    """Paths and bytes by source, oldest first."""
    _bytes: dict[int, int] = field(default_factory=dict)

    def put(self, path: bytes, answer: Answer, *, plain: bool, packed: bool) -> None:
        """Keep an answer; the source's oldest go when it has too many."""
        source = id(answer.source)
        held = self._held.setdefault(source, {})
        size = len(answer.head) + 2 * len(answer.body)  # once as it is, once dated
        while held and (len(held) >= READY_MAX or self._bytes[source] + size > READY_MAX_BYTES):
            self._drop(source, next(iter(held)))
        self._bytes[source] = self._bytes.get(source, 0) + size - held.pop(path, 0)
        held[path] = size
        for shelf, wanted in ((self.plain, plain), (self.packed, packed)):
            if wanted:
                shelf[path] = answer

    def clear(self) -> None:
        """Drop everything: streams that were public may not be any more."""
        for kept in (self.plain, self.packed, self._held, self._bytes):
            kept.clear()

    def forget(self, source: Source) -> None:
        """Drop everything of a source."""
        for path in tuple(self._held.get(id(source), ())):
            self._drop(id(source), path)
        self._held.pop(id(source), None)
        self._bytes.pop(id(source), None)

    def _drop(self, source: int, path: bytes) -> None:
        self._bytes[source] -= self._held[source].pop(path)
        self.plain.pop(path, None)
        self.packed.pop(path, None)


def is_plain_query(query: str) -> bool:
    """Return whether a query is one that many players ask by: other spellings of the same are not kept."""
    return not query or _PLAIN_QUERY.fullmatch(query) is not None


def answer_head(status_line: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """Return status line and headers as they go over the wire, without those of one answer alone."""
    lines = [status_line, *(f"{name}: {value}" for name, value in headers if name not in {"Date", REQUEST_ID})]
    return "".join(f"{line}\r\n" for line in lines).encode()
