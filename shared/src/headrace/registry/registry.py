"""The registry as its users see it: who is in the cluster, what runs where, and what this process says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from headrace.clock import Clock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.records import NodeRecord, StreamNumbers, StreamRecord


class Registry(Protocol):
    """A last known view of the cluster, and the records that this process keeps in it.

    All of it works while the store is away: the view stays as it was last known, what is kept is announced when the
    store is back. Nothing here ever waits for the store but `start`, `close` and `numbers`, and they have deadlines.

    Attributes:
        watchers: called without arguments, from the event loop, soon after the view changed; changes that come
            together are told together. They must not block.
        on_fenced: called with the stream's name and the other record when a stream kept here belongs to somebody with
            a newer epoch; it is not kept any more when this is called.
        on_node_taken: called with the other's record when this process's node id is in use by another process that
            started earlier and is alive. It is told once; this process stays out of the registry until the other goes.
    """

    watchers: set[Callable[[], None]]
    on_fenced: Callable[[StreamName, StreamRecord], None]
    on_node_taken: Callable[[NodeRecord], None]

    @property
    def nodes(self) -> Mapping[NodeId, NodeRecord]:
        """Every node known, those kept here included; changes as the cluster does."""
        ...

    @property
    def streams(self) -> Mapping[StreamName, StreamRecord]:
        """Every stream known, those kept here included; changes as the cluster does."""
        ...

    @property
    def connected(self) -> bool:
        """Whether the store answers."""
        ...

    @property
    def status(self) -> str:
        """How it is doing, a sentence for people, without credentials."""
        ...

    @property
    def problem(self) -> str | None:
        """What is wrong, for `/health/ready`; `None` when all is well."""
        ...

    async def start(self) -> None:
        """Connect and read the view. Returns within two seconds, connected or not, and goes on trying by itself."""
        ...

    async def close(self) -> None:
        """Withdraw everything that is kept, as far as the store answers in time, and let go."""
        ...

    def keep_node(self, record: NodeRecord) -> None:
        """Announce a node and keep it alive; calling again updates it. Updates that come fast are told together.

        `generation` 0 is filled in. Streams beyond `NODE_STREAMS_MAX` are left out.

        Raises:
            InvalidRecord: when others would refuse the record.
        """
        ...

    def drop_node(self, name: NodeId) -> None:
        """Withdraw a node; an unknown one is ignored."""
        ...

    def keep_stream(self, record: StreamRecord) -> None:
        """Announce a stream and keep it alive; calling again updates it. Its durable numbers grow with it.

        Raises:
            InvalidRecord: when others would refuse the record.
        """
        ...

    def drop_stream(self, name: StreamName) -> None:
        """Withdraw a stream, leaving its durable numbers; an unknown one is ignored."""
        ...

    async def numbers(self, name: StreamName) -> StreamNumbers | None:
        """Return the durable numbers of a stream; `None` when it never had any or the store does not answer."""
        ...


def make_registry(
    url: str,
    prefix: str,
    lease_seconds: float,
    clock: Clock,
    metrics: RegistryMetrics | None = None,
) -> Registry:
    """Return the registry that `url` names; nothing is connected before its `start`.

    Args:
        url: `memory:`, or `redis://`, `rediss://` (TLS) or `unix://` as redis-py reads them.
        prefix: what the keys of this cluster begin with.
        lease_seconds: how long records outlive a process that dies.
        clock: where generations come from.
        metrics: what it counts.

    Raises:
        ValueError: a sentence that says what is wrong with the URL, without its credentials.
    """
    if url == "memory:":
        from headrace.registry.memory import MemoryRegistry

        return MemoryRegistry(lease_seconds=lease_seconds, clock=clock, metrics=metrics)
    from headrace.registry.redis_registry import RedisRegistry

    return RedisRegistry(url, prefix, lease_seconds, clock, metrics)
