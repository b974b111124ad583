"""Where a worker's gate finds viewers, revocations and rules: its node, which has them or asks the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from headrace.access.records import AudienceChange
from headrace.access.rules import AccessRules
from headrace.access.viewing import Answer, Ends, Seat

T = TypeVar("T")


class Asking(Protocol):
    """Asks the node."""

    async def ask(self, what: str, about: object, kind: type[T]) -> T:
        """Return the answer.

        Raises:
            StoreAway: when there is none, or the node says so of its store.
            TooManyRevoked: when the node says so.
        """
        ...


class NodeRules:
    """What was ordered about who may watch, asked of the node."""

    def __init__(self, node: Asking) -> None:
        self._node = node

    async def read(self) -> AccessRules:
        return await self._node.ask("rules", None, AccessRules)

    async def restore(self, known: AccessRules) -> None:
        await self._node.ask("restore_rules", known, type(None))


class NodeViewing:
    """A `GateStore` that asks the node."""

    def __init__(self, node: Asking) -> None:
        self._node = node
        self._rules = NodeRules(node)

    @property
    def rules(self) -> NodeRules:
        return self._rules

    async def enter(self, seat: Seat) -> Answer:
        return await self._node.ask("enter", seat, Answer)

    async def renew(self, seats: Sequence[Seat]) -> list[Answer]:
        return await self._node.ask("renew", seats, list[Answer]) if seats else []

    async def leave(self, seats: Sequence[Seat]) -> None:
        if seats:
            await self._node.ask("leave", seats, type(None))

    async def ends(self) -> Ends:
        return await self._node.ask("ends", None, Ends)

    async def restore(self, revoked: Mapping[str, float]) -> None:
        await self._node.ask("restore", revoked, type(None))

    async def tell(self, node: str, change: AudienceChange) -> int:
        return await self._node.ask("tell", change, int)

    async def close(self) -> None:
        """The node's connection is not ours to close."""
