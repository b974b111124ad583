"""What the API is asked and what it answers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from headrace.http.operations import Model, Query, worded
from headrace.identifiers import NODE_ID_MAX_BYTES, STREAM_NAME_MAX_BYTES
from headrace_control_api.patterns import NODE_PATTERN, STREAM_PATTERN

PAGE_MAX = 1000
"""Most entries of one answer: a page of the longest names and eight tracks each is under a megabyte."""

ORDER_MAX_CHARACTERS = STREAM_NAME_MAX_BYTES + NODE_ID_MAX_BYTES + 8
"""Longest `next` of orders: a kind, a stream and a child."""

State = Literal["live", "interrupted", "ended"]
StreamText = Annotated[
    str,
    Field(max_length=STREAM_NAME_MAX_BYTES, pattern=STREAM_PATTERN),
    worded(
        "a stream's name is expected: parts of letters, digits and _ . ~ - with / between them, each of which begins "
        "with a letter, a digit or _"
    ),
]
NodeText = Annotated[
    str,
    Field(max_length=NODE_ID_MAX_BYTES, pattern=NODE_PATTERN),
    worded("a node's id is expected: letters, digits and _ . -, beginning with one of the former"),
]
PatternText = Annotated[
    str,
    Field(max_length=STREAM_NAME_MAX_BYTES, pattern=r"^(\*|[A-Za-z0-9_][A-Za-z0-9_.~/-]*\*?)$"),
    worded("a stream's name is expected, or the beginning of one with * after it"),
]
Limit = Annotated[int, Field(ge=1, le=PAGE_MAX, description="Most entries of this answer.")]


class StreamPath(Query):
    """Which stream."""

    name: StreamText = Field(description="The stream's name, each `/` in it written as `%2F`.")


class NodePath(Query):
    """Which node."""

    id: NodeText = Field(description="The node's id.")


class StreamQuery(Query):
    """Which streams."""

    prefix: Annotated[str, Field(max_length=STREAM_NAME_MAX_BYTES)] = Field(
        default="", description="How their names begin."
    )
    state: State | None = Field(default=None, description="Only those in this state.")
    node: NodeText | None = Field(default=None, description="Only those that this node carries.")
    after: Annotated[str, Field(max_length=STREAM_NAME_MAX_BYTES)] = Field(
        default="", description="Only names after this one: `next` of the answer before."
    )
    limit: Limit = PAGE_MAX


class NodeQuery(Query):
    """Which nodes."""

    role: Annotated[str, Field(max_length=64)] | None = Field(default=None, description="Only those of this role.")
    region: Annotated[str, Field(max_length=64)] | None = Field(default=None, description="Only those of this region.")
    stream: StreamText | None = Field(default=None, description="Only those that carry this stream.")
    after: Annotated[str, Field(pattern=r"^[0-9]{1,4}:[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)] | None = Field(
        default=None, description="Only those after: `next` of the answer before."
    )
    limit: Limit = PAGE_MAX


class EventQuery(Query):
    """How to follow."""

    wait: Annotated[float, Field(ge=0, le=3600)] | None = Field(
        default=None, description="End the answer after so many seconds; 0 gives what there is. Absent: never."
    )


class TrackView(Model):
    """One track of a stream; unknown numbers are 0."""

    track: int = Field(description="Its number in the stream, and in the boxes.")
    kind: Literal["video", "audio", "data"]
    codec: str = Field(description="As in RFC 6381.")
    width: int = Field(description="Pixels.")
    height: int = Field(description="Pixels.")
    frame_rate: float = Field(description="Frames a second.")
    sample_rate: int = Field(description="Samples a second.")
    channels: int
    bandwidth: int = Field(description="Bits a second, as far as it is told.")
    language: str


class StreamView(Model):
    """One stream in a list."""

    name: str
    state: State = Field(description="`interrupted`: its source is away and viewers wait.")
    owner: str = Field(description="The node that has its source.")
    epoch: int = Field(description="This publication of it; a number of milliseconds since 1970 that only grows.")
    bitrate: int = Field(description="Bits a second of all tracks together, as far as their records tell; else 0.")
    tracks: list[TrackView]
    nodes: list[str] = Field(description="Who carries it: its owner, then the others from ingress to edges.")


class TrackBitrate(Model):
    """How fast one track is."""

    track: int
    bitrate: int = Field(description="Bits a second, over what a node holds of it.")


class HopView(Model):
    """A stream at one node, measured there."""

    node: str
    parent: str | None = Field(default=None, description="Whom it comes from; absent where its source is.")
    route: list[str] = Field(description="The nodes that it came through, this one last.")
    state: State
    age_seconds: float | None = Field(
        default=None,
        description="How old chunks are when they get there, since the capture of their last sample, as the clocks of "
        "the nodes tell; absent when none came.",
    )
    added_seconds: float | None = Field(
        default=None, description="What the way from `parent` to here added; absent when one of both is not known."
    )


class MeasuredView(Model):
    """A stream, measured just now at the nodes that carry it."""

    bitrate: int = Field(description="Bits a second of all tracks together.")
    tracks: list[TrackBitrate]
    hops: list[HopView] = Field(description="The nodes that answered, by their distance from the source.")


class MeasureQuery(Query):
    """How a stream is shown."""

    measure: bool = Field(
        default=False, description="Ask the nodes that carry it for bitrate, route and age; takes most of a second."
    )


class TopologyQuery(Query):
    """How the graph is shown."""

    parents: bool = Field(default=False, description="Ask the nodes whom each stream comes from.")


class ParentView(Model):
    """Whom a stream comes from at one node."""

    node: str
    parent: str


class CarrierView(Model):
    """A node that carries a stream."""

    node: str
    role: str
    layer: int = Field(description="Its place in chains: ingress 0, edges 1000.")
    region: str
    depth: int = Field(description="How many nodes its streams have passed before it, at most; 0 when unknown.")
    draining: bool


class StreamDetail(StreamView):
    """One stream with all that is known of it."""

    viewers: int | None = Field(
        default=None, description="How many watch, as far as they are listed; absent while the store does not answer."
    )
    next_segment: int = Field(description="The number after the last segment that was told.")
    end_seconds: float = Field(description="Where its timeline ends, in seconds of decode time (UTC).")
    carriers: list[CarrierView] = Field(description="The nodes of `nodes` that are known now.")
    measured: MeasuredView | None = Field(default=None, description="Only when asked for, by `measure`.")


class StreamList(Model):
    """A page of streams, by name."""

    streams: list[StreamView]
    total: int = Field(description="How many there are on all pages.")
    next: str | None = Field(default=None, description="To be given as `after` for the next page; absent on the last.")


class NodeView(Model):
    """One node."""

    id: str
    role: str = Field(description="ingress, intermediate, edge, control-api or standalone.")
    layer: int = Field(description="Its place in chains: ingress 0, edges 1000.")
    region: str
    host: str = Field(description="The machine that it runs on, if told.")
    relay_url: str = Field(description="Where nodes reach it.")
    public_url: str = Field(description="Where browsers reach it.")
    load: float = Field(description="Share of its capacity in use: 1 is full.")
    capacity: int
    children: int = Field(description="How many nodes fetch from it.")
    depth: int = Field(description="How many nodes its streams have passed before it, at most; 0 when unknown.")
    draining: bool = Field(description="It goes away soon and takes nothing new.")
    streams: list[str] = Field(description="What it carries.")
    software: str
    started_us: int = Field(description="UTC in microseconds since 1970.")


class NodeList(Model):
    """A page of nodes, the way media flows."""

    nodes: list[NodeView]
    total: int = Field(description="How many there are on all pages.")
    next: str | None = Field(default=None, description="To be given as `after` for the next page; absent on the last.")


class TopologyNode(Model):
    """A node of the graph."""

    id: str
    role: str
    layer: int
    region: str
    host: str
    depth: int
    load: float
    children: int
    draining: bool


class TopologyStream(Model):
    """Where a stream is in the graph."""

    name: str
    state: State
    owner: str
    layers: list[list[str]] = Field(description="Who carries it, layer by layer from its owner down.")
    parents: list[ParentView] | None = Field(
        default=None, description="Whom it comes from at each node that told; only when asked for, by `parents`."
    )


class Topology(Model):
    """The cluster as a graph: nodes in layers, and where each stream is carried."""

    nodes: list[TopologyNode]
    streams: list[TopologyStream]


class NewMove(Model):
    """Where a stream is to come from."""

    to: NodeText = Field(description="The node that it is to be fetched from.")
    child: NodeText | None = Field(default=None, description="Who is to fetch it there; absent for all who can.")


class MoveQuery(Query):
    """Which of a stream's moves."""

    child: NodeText | None = Field(default=None, description="Whose; absent for the one that is for all.")


class DrainView(Model):
    """A node that is to give everything away."""

    node: str
    by: str = Field(description="Who asked for it.")
    since_us: int = Field(description="When, UTC in microseconds since 1970.")


class MoveView(Model):
    """A stream that is to come from a certain node."""

    stream: str
    to: str
    child: str | None = Field(default=None, description="Who is to fetch it there; absent for all who can.")
    by: str = Field(description="Who asked for it.")
    since_us: int = Field(description="When, UTC in microseconds since 1970.")


class OrderQuery(Query):
    """Which orders."""

    after: Annotated[str, Field(max_length=ORDER_MAX_CHARACTERS)] = Field(
        default="", description="Only orders after this one: `next` of the answer before."
    )
    limit: Limit = PAGE_MAX


class OrderList(Model):
    """A page of the drains and moves that stand: drains by node, then moves by stream and child."""

    drains: list[DrainView]
    moves: list[MoveView]
    total: int = Field(description="How many there are on all pages.")
    next: str | None = Field(default=None, description="To be given as `after` for the next page; absent on the last.")
