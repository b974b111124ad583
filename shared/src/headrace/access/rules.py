"""What was ordered about who may watch: licences, and policies beside those of the configuration. Every edge holds all.

They stand in the store under a *turn*, a number that grows with each change: an edge looks at it several times a second
and reads again when it has grown. A store that lost them is told again by edges, under a turn that nobody has seen yet.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from headrace.access.licences import LICENCES_MAX, Licence
from headrace.access.policy import Mode, Policy

POLICIES_MAX: Final = 1_000
"""Most policies by order at once: every edge compares names of streams with all of them."""


class TooManyRules(Exception):
    """There are as many licences, or policies, as there may be."""


@dataclass(frozen=True, slots=True)
class AccessRules:
    """All that was ordered.

    Attributes:
        turn: how often it has changed.
        licences: of pages.
        policies: by names of streams, or beginnings of names with `*` after them.
    """

    turn: int = 0
    licences: tuple[Licence, ...] = ()
    policies: Mapping[str, Mode] = field(default_factory=dict)

    def over(self, configured: Policy) -> Policy:
        """Return what holds with these: of two for the same names what was ordered, not what was configured."""
        return Policy(configured.default, tuple({**dict(configured.rules), **self.policies}.items()))


class RuleStore(Protocol):
    """Keeps what was ordered; every call may raise `StoreAway`."""

    async def read(self) -> AccessRules:
        """Return everything."""
        ...

    async def put_licence(self, new: Licence, old: Licence | None = None) -> bool:
        """Write a licence in the place of `old`, or a new one; return whether that was still what stood there.

        Raises:
            TooManyRules: when there are `LICENCES_MAX`.
        """
        ...

    async def remove_licence(self, key: str) -> bool:
        """Forget a licence; return whether there was one."""
        ...

    async def put_policy(self, pattern: str, mode: Mode) -> None:
        """Say what holds for streams.

        Raises:
            TooManyRules: when there are `POLICIES_MAX`.
        """
        ...

    async def remove_policy(self, pattern: str) -> bool:
        """Leave streams to the configuration again; return whether something was ordered."""
        ...

    async def restore(self, known: AccessRules) -> None:
        """Write again what the store has lost; what it has stays."""
        ...


class MemoryRules:
    """The rules of one process."""

    def __init__(self) -> None:
        self._licences: dict[str, Licence] = {}
        self._policies: dict[str, Mode] = {}
        self.turn = 0

    async def read(self) -> AccessRules:
        return AccessRules(self.turn, tuple(self._licences.values()), dict(self._policies))

    async def put_licence(self, new: Licence, old: Licence | None = None) -> bool:
        if self._licences.get(new.key) != old:
            return False
        if old is None and len(self._licences) >= LICENCES_MAX:
            raise TooManyRules
        self._licences[new.key] = new
        self.turn += 1
        return True

    async def remove_licence(self, key: str) -> bool:
        self.turn += 1
        return self._licences.pop(key, None) is not None

    async def put_policy(self, pattern: str, mode: Mode) -> None:
        if pattern not in self._policies and len(self._policies) >= POLICIES_MAX:
            raise TooManyRules
        self._policies[pattern] = mode
        self.turn += 1

    async def remove_policy(self, pattern: str) -> bool:
        self.turn += 1
        return self._policies.pop(pattern, None) is not None

    async def restore(self, known: AccessRules) -> None:
        """Nothing is lost here."""
