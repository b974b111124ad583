"""The nodes that one stream is not fetched from for a while. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Callable, Set

from headrace.identifiers import NodeId


class Avoided:
    """Nodes, and until when.

    Args:
        is_draining: returns whether a node says of itself that it goes away.
    """

    def __init__(self, is_draining: Callable[[NodeId], bool]) -> None:
        self._is_draining = is_draining
        self._until: dict[NodeId, float] = {}
        self._left: dict[NodeId, bool] = {}

    def add(self, node: NodeId, until: float) -> None:
        """Avoid `node` until then."""
        self._until[node] = until

    def add_leaving(self, node: NodeId, until: float) -> None:
        """Avoid `node`, which sent the stream away, until then or until it takes back that it drains."""
        self._until[node] = until
        self._left[node] = self._is_draining(node)

    def pardon(self) -> None:
        """Records changed: who said that it drains and does not any more is avoided no longer."""
        for node, was_draining in tuple(self._left.items()):
            if self._is_draining(node):
                self._left[node] = True
            elif was_draining:
                del self._left[node]
                self._until.pop(node, None)

    def nodes(self, now: float) -> Set[NodeId]:
        """Return those to avoid now."""
        self._until = {node: until for node, until in self._until.items() if until > now}
        self._left = {node: seen for node, seen in self._left.items() if node in self._until}
        return self._until.keys()

    def seconds(self, now: float) -> list[float]:
        """Return for how long each is avoided still."""
        return [until - now for until in self._until.values()]
