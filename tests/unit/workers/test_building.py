"""What an edge with workers is built of."""

from __future__ import annotations

from structlog.testing import capture_logs

from headrace.http.listener import HttpListener
from headrace.identifiers import NodeId
from headrace.registry.memory import MemoryRegistry
from headrace.relay.hub import Hub
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace_edge.app import build
from headrace_edge.edge import Edge
from headrace_edge.workers.node import Workers
from headrace_edge.workers.ports import SharedPort


def settings(**node: str) -> Settings:
    return Settings.model_validate({"edge": {"workers": 2}, "node": node})


async def test_the_node_has_no_viewers_but_a_door_for_nodes() -> None:
    """The public ports are held, not listened on."""
    parts = build(settings(), Runtime(NodeId("edge-1"), "edge"))
    assert not [part for part in parts if isinstance(part, Edge)]
    assert [part.name for part in parts if isinstance(part, SharedPort)] == ["edge", "fmp4"]
    assert [part.name for part in parts if isinstance(part, HttpListener)] == ["workers", "nodes"]
    assert [part for part in parts if isinstance(part, Workers)]


async def test_a_process_that_is_alone_has_no_door_for_nodes() -> None:
    """It is no node of a cluster."""
    parts = build(settings(), Runtime(NodeId("all"), "standalone"), Hub(), MemoryRegistry())
    assert [part.name for part in parts if isinstance(part, HttpListener)] == ["workers"]


async def test_an_address_for_nodes_that_leads_to_workers_is_told() -> None:
    """It was right with one process."""
    with capture_logs() as logs:
        build(settings(relay_url="ws://edge-1:8088/relay"), Runtime(NodeId("edge-1"), "edge"))
        build(settings(relay_url="ws://edge-1:8089/relay"), Runtime(NodeId("edge-2"), "edge"))
    (told,) = [log for log in logs if log["event"] == "relay_url_leads_to_workers"]
    assert told["url"] == "ws://edge-1:8088/relay"
