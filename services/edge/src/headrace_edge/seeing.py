"""What the doors need to know of the cluster."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from headrace.identifiers import NodeId, StreamName
from headrace.registry.records import NodeRecord, StreamRecord


class SeenBy(Protocol):
    """What is known of a cluster: a registry is one, and what a node tells its workers another.

    Attributes:
        watchers: called without arguments after it changed.
    """

    watchers: set[Callable[[], None]]

    @property
    def nodes(self) -> Mapping[NodeId, NodeRecord]:
        """Every node known."""
        ...

    @property
    def streams(self) -> Mapping[StreamName, StreamRecord]:
        """Every stream known."""
        ...
