"""Operations that move what runs: nodes that are drained, streams that are to come from a certain node."""

from __future__ import annotations

from headrace.clock import Clock, microseconds
from headrace.http.operations import Api, Call, Nothing
from headrace.http.problems import Problem
from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import (
    Desired,
    DesiredDrain,
    DesiredKey,
    DesiredKind,
    DesiredLimit,
    DesiredMove,
    desired_key,
)
from headrace.registry.leases import StoreAway
from headrace.registry.registry import Registry
from headrace_control_api.choosing import move_objection
from headrace_control_api.models import (
    DrainView,
    MoveQuery,
    MoveView,
    NewMove,
    NodePath,
    OrderList,
    OrderQuery,
    StreamPath,
)

BY = "api"

AWAY = {503: "The registry's store does not answer; whether it was done is unknown when it was asked."}
FULL = {409: "There are as many such orders as there may be."}


def add_orders(api: Api, registry: Registry, clock: Clock) -> None:
    """Add the operations."""

    @api.operation("GET", "/orders", tag="orders", query=OrderQuery, answer=OrderList)
    async def list_orders(call: Call[Nothing, OrderQuery, Nothing]) -> OrderList:
        """List the drains and moves that stand."""
        return list_page(registry, call.query)

    @api.operation(
        "PUT",
        "/nodes/{id}/drain",
        tag="orders",
        scope="write",
        path_model=NodePath,
        status=204,
        problems={404: "There is no such node.", **FULL, **AWAY},
    )
    async def drain_node(call: Call[NodePath, Nothing, Nothing]) -> None:
        """Have a node give everything to others.

        Its children, viewers and sources go first and miss nothing; it takes nothing new and stays up until it is
        stopped or the order is withdrawn.
        """
        _check_node(registry, call.path.id)
        await _give(registry, DesiredDrain(node=call.path.id, by=BY, since_us=microseconds(clock.utc())))

    @api.operation(
        "DELETE",
        "/nodes/{id}/drain",
        tag="orders",
        scope="write",
        path_model=NodePath,
        status=204,
        problems={404: "There is no such order.", **AWAY},
    )
    async def stop_draining_node(call: Call[NodePath, Nothing, Nothing]) -> None:
        """Let a node that was drained take part again."""
        await _withdraw(registry, DesiredDrain(node=call.path.id))

    @api.operation(
        "PUT",
        "/streams/{name}/move",
        tag="orders",
        scope="write",
        path_model=StreamPath,
        body=NewMove,
        status=204,
        problems={
            404: "There is no such stream.",
            409: "There is no such node, it cannot come from there, or there are as many such orders as there may be.",
            **AWAY,
        },
    )
    async def move_stream(call: Call[StreamPath, Nothing, NewMove]) -> None:
        """Have a stream come from a certain node.

        It holds while that node is there and has room, for one child or for all that can. To an ingress and without
        `child`, the stream's source itself is moved, also one that nobody has taken on yet.
        """
        name = StreamName(call.path.name)
        if name not in registry.streams and DesiredKey(DesiredKind.SOURCE, name) not in registry.desired:
            raise Problem(404, f"There is no stream {name}.")
        for node in (call.body.to, *([call.body.child] if call.body.child else [])):
            _check_node(registry, node, status=409)  # 404 is about the stream
        child = NodeId(call.body.child) if call.body.child else None
        objection = move_objection(registry, name, NodeId(call.body.to), child)
        if objection is not None:
            raise Problem(409, f"{objection[:1].upper()}{objection[1:]}.")
        await _give(
            registry,
            DesiredMove(
                stream=name,
                parent=call.body.to,
                child=child or "",
                by=BY,
                since_us=microseconds(clock.utc()),
            ),
        )

    @api.operation(
        "DELETE",
        "/streams/{name}/move",
        tag="orders",
        scope="write",
        path_model=StreamPath,
        query=MoveQuery,
        status=204,
        problems={404: "There is no such order.", **AWAY},
    )
    async def stop_moving_stream(call: Call[StreamPath, MoveQuery, Nothing]) -> None:
        """Let nodes choose by themselves again where a stream comes from."""
        await _withdraw(registry, DesiredMove(stream=call.path.name, parent="none", child=call.query.child or ""))


def list_page(registry: Registry, query: OrderQuery) -> OrderList:
    """Return a page of what stands."""
    found = {
        str(key): entry.record
        for key, entry in registry.desired.items()
        if isinstance(entry.record, DesiredDrain | DesiredMove)
    }
    rest = sorted(key for key in found if key > query.after)
    page = rest[: query.limit]
    shown = [found[key] for key in page]
    return OrderList(
        drains=[
            DrainView(node=order.node, by=order.by, since_us=order.since_us)
            for order in shown
            if isinstance(order, DesiredDrain)
        ],
        moves=[
            MoveView(
                stream=order.stream, to=order.parent, child=order.child or None, by=order.by, since_us=order.since_us
            )
            for order in shown
            if isinstance(order, DesiredMove)
        ],
        total=len(found),
        next=page[-1] if len(rest) > len(page) else None,
    )


async def _give(registry: Registry, order: Desired) -> None:
    try:
        await registry.put_desired(order)
    except DesiredLimit as error:
        raise Problem(409, f"{error}.") from None
    except StoreAway as error:
        raise Problem(503, f"The store does not answer: {error}") from None


async def _withdraw(registry: Registry, order: Desired) -> None:
    try:
        there = await registry.drop_desired(desired_key(order))
    except StoreAway as error:
        raise Problem(503, f"The store does not answer: {error}") from None
    if not there:
        raise Problem(404, "Nobody asked for that.")


def _check_node(registry: Registry, name: str, status: int = 404) -> None:
    if NodeId(name) not in registry.nodes:
        raise Problem(status, f"There is no node {name}.")
