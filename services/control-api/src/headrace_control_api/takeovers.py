"""What went from one node to another: streams whose owner is another one, and whatever is carried out by claim."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from headrace.identifiers import StreamName
from headrace.registry.desired import DesiredKey, DesiredKind
from headrace.registry.records import ClaimRecord, StreamRecord

REMEMBERED_MAX: Final = 20_000
"""Most of each whose last node is remembered after they are gone: streams and claims of the largest clusters, twice."""

_EVENTS: Final = {
    DesiredKind.SOURCE: ("source_taken_over", "stream"),
    DesiredKind.TRANSFER: ("transfer_taken_over", "transfer"),
}

Told = tuple[str, dict[str, Any]]


class Takeovers:
    """Remembers who had what last, also of what nobody has for a while: a dead node's is gone before another has it."""

    def __init__(self) -> None:
        self._owners: OrderedDict[StreamName, str] = OrderedDict()
        self._holders: OrderedDict[DesiredKey, str] = OrderedDict()

    def compare(
        self, streams: Mapping[StreamName, StreamRecord], claims: Mapping[DesiredKey, ClaimRecord]
    ) -> Iterator[Told]:
        """Return an event's name and document for each that another node has now than last time."""
        for name, stream in streams.items():
            before = _exchange(self._owners, name, stream.node)
            if before not in (None, stream.node):
                moved = {"stream": stream.stream, "owner": stream.node, "before": before, "epoch": stream.epoch}
                yield "stream_moved", moved
        for key, claim in claims.items():
            before = _exchange(self._holders, key, claim.node)
            if before not in (None, claim.node) and key.kind in _EVENTS:
                event, what = _EVENTS[key.kind]
                yield event, {what: key.name, "node": claim.node, "before": before}


def _exchange(known: OrderedDict[Any, str], key: StreamName | DesiredKey, node: str) -> str | None:
    """Note who has it now, and return who had it."""
    before = known.get(key)
    known[key] = node
    known.move_to_end(key)
    if len(known) > REMEMBERED_MAX:
        known.popitem(last=False)
    return before
