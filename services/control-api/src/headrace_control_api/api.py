"""The operations of `/api/v1`."""

from __future__ import annotations

from aiohttp import web

from headrace.access.viewing import Viewing
from headrace.http.checks import Checks
from headrace.http.operations import Api, Call, Nothing
from headrace.http.problems import Problem
from headrace.identifiers import NodeId, StreamName
from headrace.registry.leases import StoreAway
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.registry import Registry
from headrace.version import VERSION
from headrace_control_api.asking_nodes import Nodes
from headrace_control_api.check import add_check
from headrace_control_api.choosing import add_choosing
from headrace_control_api.events import EventLog, follow
from headrace_control_api.hops import measured, parents
from headrace_control_api.licences import add_licences
from headrace_control_api.models import (
    EventQuery,
    MeasuredView,
    MeasureQuery,
    NodeList,
    NodePath,
    NodeQuery,
    NodeView,
    StreamDetail,
    StreamList,
    StreamPath,
    StreamQuery,
    Topology,
    TopologyQuery,
)
from headrace_control_api.orders import add_orders
from headrace_control_api.pictures import Pictures
from headrace_control_api.policies import add_policies
from headrace_control_api.snapshots import add_snapshots
from headrace_control_api.sources import add_sources
from headrace_control_api.tokens import TokenOffice, add_tokens
from headrace_control_api.transfer_operations import add_transfers
from headrace_control_api.transfers import Engine
from headrace_control_api.viewers import add_viewers
from headrace_control_api.views import list_nodes, list_streams, show_node, show_stream, show_topology

PREFIX = "/api/v1"

DESCRIPTION = (
    "What runs where in a Headrace cluster. Any control API of the cluster answers alike. Lists come in pages, answers "
    "of GET have an ETag, errors are problem documents (RFC 9457)."
)

NO_STREAM = {404: "There is no such stream."}
NO_NODE = {404: "There is no such node."}


def make_api(
    registry: Registry,
    events: EventLog,
    office: TokenOffice,
    pictures: Pictures | None = None,
    nodes: Nodes | None = None,
    checks: Checks | None = None,
) -> Api:
    """Return the operations, which answer from what `registry` knows, and what `nodes` tell when they are asked."""
    api = Api(PREFIX, "Headrace control API", VERSION, DESCRIPTION)
    _add_streams(api, registry, office.viewing, nodes)
    add_choosing(api, registry)
    add_snapshots(api, registry, pictures)
    _add_nodes(api, registry)
    _add_cluster(api, registry, events, nodes)
    add_sources(api, registry, office.clock)
    add_check(api, registry, checks)
    add_transfers(api, Engine(registry, office.clock))
    add_orders(api, registry, office.clock)
    add_tokens(api, office)
    add_viewers(api, office.viewing, office.clock)
    add_policies(api, office.viewing.rules)
    add_licences(api, office.viewing.rules, office.clock)
    return api


def _add_streams(api: Api, registry: Registry, viewing: Viewing, nodes: Nodes | None) -> None:
    @api.operation("GET", "/streams", tag="streams", query=StreamQuery, answer=StreamList)
    async def list_all_streams(call: Call[Nothing, StreamQuery, Nothing]) -> StreamList:
        """List the streams of the cluster, by name."""
        return list_streams(registry.streams, registry.nodes, call.query)

    @api.operation(
        "GET",
        "/streams/{name}",
        tag="streams",
        path_model=StreamPath,
        query=MeasureQuery,
        answer=StreamDetail,
        problems=NO_STREAM,
    )
    async def show_one_stream(call: Call[StreamPath, MeasureQuery, Nothing]) -> StreamDetail:
        """Show a stream, who carries it and how many watch; with `measure`, what its nodes measure of it now."""
        record = _stream(registry, call.path.name)
        found: MeasuredView | None = None
        if call.query.measure and nodes is not None:
            # The owner's own record may say so a moment later than the stream's.
            carriers = [
                node for node in registry.nodes.values() if record.stream in node.streams or node.node == record.node
            ]
            found = measured(await nodes.carried(record.stream, carriers))
        return show_stream(record, registry.nodes, await _viewers_of(viewing, record.stream), found)


def _add_nodes(api: Api, registry: Registry) -> None:
    @api.operation("GET", "/nodes", tag="nodes", query=NodeQuery, answer=NodeList)
    async def list_all_nodes(call: Call[Nothing, NodeQuery, Nothing]) -> NodeList:
        """List the nodes of the cluster, the way media flows."""
        return list_nodes(registry.nodes, call.query)

    @api.operation("GET", "/nodes/{id}", tag="nodes", path_model=NodePath, answer=NodeView, problems=NO_NODE)
    async def show_one_node(call: Call[NodePath, Nothing, Nothing]) -> NodeView:
        """Show a node."""
        return show_node(_node(registry, call.path.id))


def _add_cluster(api: Api, registry: Registry, events: EventLog, nodes: Nodes | None) -> None:
    @api.operation("GET", "/topology", tag="cluster", query=TopologyQuery, answer=Topology)
    async def show_cluster(call: Call[Nothing, TopologyQuery, Nothing]) -> Topology:
        """Show the cluster as a graph; with `parents`, whom each stream comes from at the nodes that tell."""
        told = None
        if call.query.parents and nodes is not None:
            told = parents(await nodes.routes(node for node in registry.nodes.values() if node.streams))
        return show_topology(registry.streams, registry.nodes, told)

    @api.operation(
        "GET",
        "/events",
        tag="cluster",
        query=EventQuery,
        media_type="text/event-stream",
        problems={503: "Too many follow the events already."},
    )
    async def follow_events(call: Call[Nothing, EventQuery, Nothing]) -> web.StreamResponse:
        """Follow what changes, as Server-Sent Events.

        Events are `stream_appeared`, `stream_changed`, `stream_gone`, `node_appeared`, `node_changed` and `node_gone`;
        the data is a JSON object with `at_us` (UTC in microseconds), and `stream`, `state`, `owner`, `epoch` and
        `nodes`, or `node`, `role`, `layer`, `region`, `relay_url`, `public_url`, `draining` and `started_us`. When
        another node has what one had `before`, that is told as well: `stream_moved` (`stream`, `owner`, `before`,
        `epoch`), `source_taken_over` (`stream`, `node`, `before`) and `transfer_taken_over` (`transfer`, `node`,
        `before`). With the header `Last-Event-ID` they go on after that event; when it is not remembered, or was told
        by another control API, `reset` comes first: list everything again.
        """
        return await follow(call.request, events, call.query.wait)


async def _viewers_of(viewing: Viewing, stream: str) -> int | None:
    try:
        return sum(counts.streams.get(stream, 0) for counts in (await viewing.counts()).values())
    except StoreAway:
        return None


def _stream(registry: Registry, name: str) -> StreamRecord:
    record = registry.streams.get(StreamName(name))
    if record is None:
        raise Problem(404, f"There is no stream {name}.")
    return record


def _node(registry: Registry, name: str) -> NodeRecord:
    record = registry.nodes.get(NodeId(name))
    if record is None:
        raise Problem(404, f"There is no node {name}.")
    return record
