"""What each node thinks of the others when it looks for a parent for a stream."""

from __future__ import annotations

from pydantic import Field

from headrace.http.operations import Api, Call, Model, Nothing, Query
from headrace.http.problems import Problem
from headrace.identifiers import NodeId, StreamName
from headrace.registry.desired import DesiredKey, DesiredKind, DesiredSource
from headrace.registry.placement import explain_parents
from headrace.registry.records import NodeRecord
from headrace.registry.registry import Registry
from headrace.registry.transfers import OPTION_PUBLISHER
from headrace.session.placing import moved_to
from headrace_control_api.models import StreamPath

NODE_MAX_CHARACTERS = 64
"""Longest id of a node."""


class ChoosingQuery(Query):
    """Whose choice."""

    node: str | None = Field(
        default=None,
        max_length=NODE_MAX_CHARACTERS,
        description="The node that chooses; default: all that carry the stream but its owner.",
    )


class VerdictView(Model):
    """What a node thinks of another as its parent."""

    node: str
    place: int | None = Field(default=None, description="Its place, 0 for the first choice; absent when it is none.")
    why: str = Field(description="Why it stands there, or why it cannot be a parent.")


class ChoiceView(Model):
    """How one node ranks its parents for a stream."""

    node: str
    role: str
    layer: int = Field(description="Its place in chains: ingress 0, edges 1000.")
    moved_to: str | None = Field(default=None, description="Where somebody moved the stream for it.")
    parents: list[VerdictView] = Field(description="All nodes, candidates first and in their order.")


class Choices(Model):
    """How nodes rank their parents for a stream."""

    stream: str
    nodes: list[ChoiceView] = Field(description="By name.")


class NobodyChooses(Exception):
    """There is no such stream or no such node; the sentence says which."""


def choices(registry: Registry, stream: StreamName, of: NodeId | None) -> Choices:
    """Return how node `of` ranks its parents for `stream`, or all that carry it and are not its owner.

    It is computed from the same records by the same function as in the nodes; what a node saw fail a moment ago is its
    own knowledge and not in it.

    Raises:
        NobodyChooses: when the stream or the node is not known.
    """
    return Choices(stream=stream, nodes=[_choice(registry, stream, node) for node in _choosers(registry, stream, of)])


def why_not(registry: Registry, stream: StreamName, child: NodeId, parent: NodeId) -> str | None:
    """Return why `child` cannot have `stream` from `parent`; `None` when it can. Both must be known."""
    verdicts = _choice(registry, stream, registry.nodes[child]).parents
    return next((one.why for one in verdicts if one.node == parent and one.place is None), None)


def move_objection(registry: Registry, stream: StreamName, to: NodeId, child: NodeId | None) -> str | None:
    """Return why `stream` cannot come from `to`, for `child` or, without, for anybody; `None` when it can.

    All must be known. To an ingress and without `child` it is the source that moves.
    """
    if child is not None:
        objection = why_not(registry, stream, child, to)
        return objection and f"{child} cannot fetch {stream} from {to}: {objection}"
    node = registry.nodes[to]
    if node.role == "ingress":
        return _source_objection(registry, stream)
    return None if node.relay_url else f"nobody can fetch {stream} from {to}: it tells no relay URL"


def _source_objection(registry: Registry, stream: StreamName) -> str | None:
    """Return why no ingress can be told to fetch a stream."""
    key = DesiredKey(DesiredKind.SOURCE, stream)
    entry = registry.desired.get(key)
    if entry is None:
        # Of a configuration's source the claim tells that it is fetched, by one of those that are configured so.
        return None if key in registry.claims else f"{stream} is fetched by nobody: its publisher decides where to"
    pushed = isinstance(entry.record, DesiredSource) and OPTION_PUBLISHER in entry.record.options
    return f"{stream} is pushed here by another cluster, which decides where to" if pushed else None


def add_choosing(api: Api, registry: Registry) -> None:
    """Add the operation."""

    @api.operation(
        "GET",
        "/streams/{name}/parents",
        tag="streams",
        path_model=StreamPath,
        query=ChoosingQuery,
        answer=Choices,
        problems={404: "There is no such stream, or no such node."},
    )
    async def explain_stream_parents(call: Call[StreamPath, ChoosingQuery, Nothing]) -> Choices:
        """Explain whom the nodes would have a stream from now, and why not from others.

        From the same records by the same rules as in the nodes; what a node saw fail a moment ago only it knows.
        """
        of = None if call.query.node is None else NodeId(call.query.node)
        try:
            return choices(registry, StreamName(call.path.name), of)
        except NobodyChooses as error:
            raise Problem(404, f"{str(error)[:1].upper()}{str(error)[1:]}.") from None


def _choosers(registry: Registry, stream: StreamName, of: NodeId | None) -> list[NodeRecord]:
    owner = registry.streams.get(stream)
    carriers = [node for node in registry.nodes.values() if stream in node.streams]
    if of is not None:
        if of not in registry.nodes:
            raise NobodyChooses(f"there is no node {of}")
        return [registry.nodes[of]]
    if owner is None and not carriers:
        raise NobodyChooses(f"there is no stream {stream}")
    return sorted((one for one in carriers if owner is None or one.node != owner.node), key=lambda one: one.node)


def _choice(registry: Registry, stream: StreamName, me: NodeRecord) -> ChoiceView:
    preferred = moved_to(stream, NodeId(me.node), registry)
    lost = stream in me.streams
    verdicts = explain_parents(me, stream, registry.nodes.values(), registry.streams, prefer=preferred, lost=lost)
    return ChoiceView(
        node=me.node,
        role=me.role,
        layer=me.layer,
        moved_to=preferred,
        parents=[VerdictView(node=one.node, place=one.place, why=one.why) for one in verdicts],
    )
