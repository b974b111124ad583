"""Operations on viewers: who watches where, how many they are, and sending one away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from headrace.access.records import Counts, ViewerRecord, add_counts
from headrace.access.viewing import TooManyKicked, Viewing
from headrace.clock import Clock
from headrace.http.operations import Api, Call, Model, Nothing, Query
from headrace.http.problems import Problem
from headrace.identifiers import NODE_ID_MAX_BYTES
from headrace.registry.leases import StoreAway
from headrace_control_api.models import PAGE_MAX, Limit, NodeText, StreamText

AWAY = {503: "The registry's store does not answer."}

KICK_SECONDS = 60
"""How long a viewer is kept away unless somebody says otherwise: its player has given up by then."""

KICK_SECONDS_MAX = 24 * 3600
"""Longest time a viewer is kept away; for longer there are tokens to revoke."""

ViewerText = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$", max_length=16)]


class ViewerPath(Query):
    """Which viewer."""

    id: ViewerText = Field(description="The viewer's id.")


class ViewerQuery(Query):
    """Which viewers."""

    stream: StreamText | None = Field(default=None, description="Only those of this stream.")
    node: NodeText | None = Field(default=None, description="Only those at this edge.")
    door: Annotated[str, Field(max_length=16)] | None = Field(
        default=None, description="Only those of this door: `play`, `fmp4` or `live`."
    )
    token: Annotated[str, Field(max_length=128)] | None = Field(
        default=None, description="Only those with the token of this id."
    )
    subject: Annotated[str, Field(max_length=256)] | None = Field(
        default=None, description="Only those whose token is for this subject."
    )
    after: (
        Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*:[0-9a-f]{16}$", max_length=NODE_ID_MAX_BYTES + 17)]
        | None
    ) = Field(default=None, description="Only those after: `next` of the answer before.")
    limit: Limit = PAGE_MAX


class KickQuery(Query):
    """How to send a viewer away."""

    seconds: Annotated[int, Field(ge=1, le=KICK_SECONDS_MAX)] = Field(
        default=KICK_SECONDS, description="How long its session is kept away."
    )


class ViewerView(Model):
    """One viewer."""

    id: str = Field(description="Names the viewing session; the same at whatever edge it goes on.")
    stream: str
    node: str = Field(description="The edge that it is at.")
    door: str = Field(description="`play` (Headrace's player), `fmp4` (plain fMP4) or `live` (HLS, DASH).")
    since_us: int = Field(description="When it came to this edge, UTC in microseconds since 1970.")
    address: str = Field(description="Of its connection; behind a proxy the proxy's.")
    origin: str | None = Field(default=None, description="Of the page that it is on; absent when it is none.")
    token: str | None = Field(default=None, description="Id of the token that let it in; absent for public streams.")
    subject: str | None = Field(default=None, description="Whom the token is for.")


class ViewerList(Model):
    """A page of viewers, by edge."""

    viewers: list[ViewerView]
    next: str | None = Field(default=None, description="To be given as `after` for the next page; absent on the last.")


class NodeViewers(Model):
    """How many watch at one edge."""

    node: str
    viewers: int


class StreamViewers(Model):
    """How many watch one stream."""

    stream: str
    viewers: int


class DoorViewers(Model):
    """How many came by one door."""

    door: str
    viewers: int


class ViewerCounts(Model):
    """How many watch."""

    viewers: int = Field(description="In the whole cluster.")
    nodes: list[NodeViewers] = Field(description="By edge.")
    streams: list[StreamViewers] = Field(description="By stream, the most watched first, at most 1,000.")
    doors: list[DoorViewers]


def add_viewers(api: Api, viewing: Viewing, clock: Clock) -> None:
    """Add the operations."""

    @api.operation("GET", "/viewers", tag="viewers", query=ViewerQuery, answer=ViewerList, problems=AWAY)
    async def list_viewers(call: Call[Nothing, ViewerQuery, Nothing]) -> ViewerList:
        """List who watches, by edge.

        Players and plain fMP4 connections of every stream are listed, and HLS and DASH players of streams that need a
        token; those of public streams are mere requests. A player whose requests go to several edges is listed by each.
        """
        try:
            return await _page(viewing, call.query)
        except StoreAway as error:
            raise _away(error) from None

    @api.operation("GET", "/viewer-counts", tag="viewers", answer=ViewerCounts, problems=AWAY)
    async def count_viewers(call: Call[Nothing, Nothing, Nothing]) -> ViewerCounts:
        """Count who watches, by edge, stream and door."""
        try:
            return count(await viewing.counts())
        except StoreAway as error:
            raise _away(error) from None

    @api.operation(
        "DELETE",
        "/viewers/{id}",
        tag="viewers",
        scope="write",
        path_model=ViewerPath,
        query=KickQuery,
        status=204,
        problems={
            404: "Nobody who watches now has this id.",
            409: "As many viewers are kept away as can be remembered.",
            **AWAY,
        },
    )
    async def kick_viewer(call: Call[ViewerPath, KickQuery, Nothing]) -> None:
        """Send a viewer away.

        Whatever edge it is at tells it `kicked` and closes within a second, and no edge lets its session in again
        before `seconds` are over.
        """
        try:
            if not await viewing.has(call.path.id, tuple(await viewing.counts())):
                raise Problem(404, f"No viewer {call.path.id} watches now.")
            await viewing.kick(call.path.id, clock.utc() + call.query.seconds)
        except TooManyKicked:
            raise Problem(409, "As many viewers are kept away as can be remembered.") from None
        except StoreAway as error:
            raise _away(error) from None


def count(found: Mapping[str, Counts]) -> ViewerCounts:
    """Return the counts of all edges together."""
    whole = add_counts(found)
    streams = sorted(whole.streams.items(), key=lambda pair: (-pair[1], pair[0]))[:PAGE_MAX]
    return ViewerCounts(
        viewers=whole.viewers,
        nodes=[NodeViewers(node=node, viewers=counts.viewers) for node, counts in sorted(found.items())],
        streams=[StreamViewers(stream=stream, viewers=viewers) for stream, viewers in streams],
        doors=[DoorViewers(door=door, viewers=viewers) for door, viewers in sorted(whole.doors.items())],
    )


async def _page(viewing: Viewing, query: ViewerQuery) -> ViewerList:
    first, _, last = (query.after or "").rpartition(":")
    nodes = sorted(node for node in await viewing.counts() if query.node in (None, node) and node >= first)
    found: list[tuple[str, ViewerRecord]] = []
    for node in nodes:
        records = sorted(await viewing.viewers(node), key=lambda record: record.id)
        found += [(node, record) for record in records if (node, record.id) > (first, last) and _matches(record, query)]
        if len(found) > query.limit:
            break
    page = found[: query.limit]
    return ViewerList(
        viewers=[_view(node, record) for node, record in page],
        next=f"{page[-1][0]}:{page[-1][1].id}" if len(found) > len(page) else None,
    )


def _matches(record: ViewerRecord, query: ViewerQuery) -> bool:
    return (
        query.stream in (None, record.stream)
        and query.door in (None, record.door)
        and query.token in (None, record.token)
        and query.subject in (None, record.subject)
    )


def _view(node: str, record: ViewerRecord) -> ViewerView:
    return ViewerView(
        id=record.id,
        stream=record.stream,
        node=node,
        door=record.door,
        since_us=record.since_us,
        address=record.address,
        origin=record.origin or None,
        token=record.token or None,
        subject=record.subject or None,
    )


def _away(error: StoreAway) -> Problem:
    return Problem(503, f"The store does not answer: {error}")
