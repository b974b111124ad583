"""Which sources this node runs: those whose claims it wins, of those that it could run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Set
from typing import Final, Protocol

from headrace.identifiers import NodeId, StreamName
from headrace.registry.claims import Claim
from headrace.registry.contest import Contest
from headrace.registry.desired import DesiredKey
from headrace.registry.registry import Registry
from headrace_ingress.wanted import Wanted, source_key

ROLES: Final = frozenset({"ingress", "standalone"})
"""Who runs sources."""


class Runner(Protocol):
    """What runs feeds."""

    def begin(self, name: StreamName, claim: Claim | None) -> None:
        """Run a stream's source; with no claim, unannounced. Give a running one its claim."""

    def fence(self, name: StreamName) -> None:
        """Publish nothing more of it, at this moment."""

    async def end(self, name: StreamName) -> None:
        """Stop its feed; an unknown one is ignored."""

    def is_current(self, name: StreamName) -> bool:
        """Whether it runs as it is wanted now."""


class _Sources:
    """Sources as a contest's work: streams by their keys."""

    def __init__(self, wanted: Wanted, runner: Runner, may_publish: Callable[[StreamName], bool]) -> None:
        self._wanted = wanted
        self._runner = runner
        self._may_publish = may_publish

    @property
    def keys(self) -> Set[DesiredKey]:
        return {source_key(name) for name in self._wanted.requests if self._may_publish(name)}

    def look(self, keys: Collection[DesiredKey]) -> None:
        self._wanted.look(keys)

    async def share(self) -> None:
        await self._wanted.share()

    def is_own(self, key: DesiredKey) -> bool:
        return self._wanted.is_own(StreamName(key.name))

    def can_only_refuse(self, key: DesiredKey) -> bool:
        return self._wanted.is_refused(StreamName(key.name))

    def begin(self, key: DesiredKey, claim: Claim | None) -> None:
        self._runner.begin(StreamName(key.name), claim)

    def fence(self, key: DesiredKey) -> None:
        self._runner.fence(StreamName(key.name))

    async def end(self, key: DesiredKey) -> None:
        await self._runner.end(StreamName(key.name))

    def is_current(self, key: DesiredKey) -> bool:
        return self._runner.is_current(StreamName(key.name))


def contest_for_sources(
    node: NodeId,
    registry: Registry,
    lease_seconds: float,
    wanted: Wanted,
    runner: Runner,
    may_publish: Callable[[StreamName], bool] = lambda name: True,
) -> Contest:
    """Return the contest in which this node claims what is `wanted`, and has `runner` run what it wins.

    Streams that this node's credential does not cover (`may_publish`) are left to others.
    """
    return Contest(node, registry, lease_seconds, ROLES, _Sources(wanted, runner, may_publish))
