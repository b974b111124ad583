"""What the fetches of a node share: who gives them links, who chooses, and how patient they are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from dataclasses import dataclass
from typing import Protocol

from headrace.clock import Clock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.placement import Candidate
from headrace.session.link import Link
from headrace.session.metrics import RelayMetrics
from headrace.wire.stream import RouteHop


class Parents(Protocol):
    """Where a fetch gets its links from."""

    async def open(self, candidate: Candidate) -> Link:
        """Return an open link to `candidate`.

        Raises:
            LinkError: when there is none to be had.
        """

    def failing(self) -> Set[NodeId]:
        """Return the nodes that are not worth a try at the moment."""

    def next_try(self) -> float | None:
        """Return in how many seconds the first of them is worth a try again."""


Rank = Callable[[StreamName, Collection[NodeId], bool], list[Candidate]]
"""Returns the candidates for a stream, best first, without those to avoid; told whether the stream had a parent."""


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What all fetches of a node share.

    Attributes:
        own: this node's part of every route; empty for a process that is part of its parent's node.
        parents: makes links.
        rank: chooses parents.
        owner: returns the node that has a stream's source, as far as is known.
        switch_seconds: how long a stream may be without a parent before its viewers are told.
        history_seconds: how much of the past a stream begins with.
        preferred: returns where somebody moved a stream to.
        look_for_room: called when no parent that is known has any.
        is_draining: returns whether a node says so of itself.
    """

    own: tuple[RouteHop, ...]
    parents: Parents
    rank: Rank
    owner: Callable[[StreamName], NodeId | None]
    switch_seconds: float
    history_seconds: float
    clock: Clock
    metrics: RelayMetrics
    preferred: Callable[[StreamName], NodeId | None] = lambda stream: None
    look_for_room: Callable[[], None] = lambda: None
    is_draining: Callable[[NodeId], bool] = lambda node: False
