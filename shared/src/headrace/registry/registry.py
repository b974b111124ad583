"""The registry as its users see it: who is in the cluster, what runs where, and what this process says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from headrace.clock import Clock
from headrace.identifiers import NodeId, StreamName
from headrace.registry.claims import Claim
from headrace.registry.desired import Desired, DesiredEntry, DesiredKey
from headrace.registry.metrics import RegistryMetrics
from headrace.registry.records import ClaimRecord, NodeRecord, StreamNumbers, StreamRecord
from headrace.registry.sealing import Vault


class Registry(Protocol):
    """A last known view of the cluster, and the records that this process keeps in it.

    All of it works while the store is away: the view stays as it was last known, what is kept is announced when the
    store is back. Nothing here ever waits for the store but `start`, `close` and `numbers`, and they have deadlines.

    Attributes:
        watchers: called without arguments, from the event loop, soon after the view changed; changes that come
            together are told together. They must not block.
        desired_watchers: called likewise with the keys of the desired records that changed, before `watchers`.
        on_fenced: called with the stream's name and the other record when a stream kept here belongs to somebody with
            a newer epoch; it is not kept any more when this is called.
        on_node_taken: called with the other's record when this process's node id is in use by another process that
            started earlier and is alive. It is told once; this process stays out of the registry until the other goes.
    """

    watchers: set[Callable[[], None]]
    desired_watchers: set[Callable[[frozenset[DesiredKey]], None]]
    on_fenced: Callable[[StreamName, StreamRecord], None]
    on_node_taken: Callable[[NodeRecord], None]

    @property
    def nodes(self) -> Mapping[NodeId, NodeRecord]:
        """Every node known, those kept here included; changes as the cluster does.

        Of more than `EDGES_FOLLOWED` edges only a sample, which changes now and then, unless the registry was asked
        for the whole.
        """
        ...

    @property
    def streams(self) -> Mapping[StreamName, StreamRecord]:
        """Every stream known, those kept here included; changes as the cluster does."""
        ...

    @property
    def desired(self) -> Mapping[DesiredKey, DesiredEntry]:
        """What was asked for; changes as it does, and stays as last known while the store is away."""
        ...

    @property
    def claims(self) -> Mapping[DesiredKey, ClaimRecord]:
        """Who carries out what of it, as last known."""
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

    def refresh(self) -> None:
        """Read everything again soon, with another sample of edges: for who finds no parent with room."""
        ...

    async def numbers(self, name: StreamName) -> StreamNumbers | None:
        """Return the durable numbers of a stream; `None` when it never had any or the store does not answer.

        They are never less than what was told of the stream here, though the store may have been failed over.
        """
        ...

    def tag(self, text: str) -> str:
        """Return a word for a text that may hold credentials (`headrace.registry.sealing.Vault.tag`)."""
        ...

    async def put_desired(self, record: Desired, expect: int | None = None) -> int:
        """Ask for something, or change what was asked for; return its revision, after the store has it.

        Args:
            record: what is desired.
            expect: the revision that must be there, 0 for none yet; `None` writes over whatever is there.

        Raises:
            InvalidRecord: when others would refuse it, or it holds credentials and there is no secret to seal with.
            DesiredConflict: when another revision is there.
            DesiredLimit: when there are as many of its kind as there may be.
            StoreAway: when the store does not answer; whether it has the record is unknown then.
        """
        ...

    async def drop_desired(self, key: DesiredKey, expect: int | None = None) -> bool:
        """Ask for something no more; return whether it was there.

        Raises:
            DesiredConflict: when `expect` is given and another revision is there.
            StoreAway: as `put_desired`.
        """
        ...

    async def claim(self, key: DesiredKey, node: NodeId, on_change: Callable[[Claim], None]) -> Claim | None:
        """Take on a desired record, and keep it until it is released, lost or the registry closes.

        Args:
            key: what is carried out.
            node: who does it.
            on_change: called when the claim is doubted, held again or lost; not when it is released.

        Returns:
            The claim; `None` when somebody else has it.

        Raises:
            StoreAway: as `put_desired`.
            ValueError: when this registry has it already.
        """
        ...

    def report(self, claim: Claim, status: str = "", detail: str = "", facts: Mapping[str, str] | None = None) -> None:
        """Tell others how it goes; nothing happens when the claim is not held any more.

        Raises:
            InvalidRecord: when others would refuse it.
        """
        ...

    async def release(self, claim: Claim) -> None:
        """Hold a claim no more; others may take it at once. An ended one is ignored."""
        ...


def make_registry(
    url: str,
    prefix: str,
    lease_seconds: float,
    clock: Clock,
    metrics: RegistryMetrics | None = None,
    vault: Vault | None = None,
    *,
    whole: bool = False,
) -> Registry:
    """Return the registry that `url` names; nothing is connected before its `start`.

    Args:
        url: `memory:`, or as `headrace.registry.redis_url` describes.
        prefix: what the keys of this cluster begin with.
        lease_seconds: how long records outlive a process that dies.
        clock: where generations come from.
        metrics: what it counts.
        vault: seals the addresses of desired records; without one, only those without credentials are stored.
        whole: know every edge, however many there are: for who shows the cluster to people.

    Raises:
        ValueError: a sentence that says what is wrong with the URL, without its credentials.
    """
    if url == "memory:":
        from headrace.registry.memory import MemoryRegistry

        return MemoryRegistry(lease_seconds=lease_seconds, clock=clock, metrics=metrics, vault=vault)
    from headrace.registry.redis_registry import RedisRegistry

    return RedisRegistry(url, prefix, lease_seconds, clock, metrics, vault, whole=whole)
