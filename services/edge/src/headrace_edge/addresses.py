"""Where players find edges: a pure choice among the registry's node records."""

from __future__ import annotations

from collections.abc import Iterable

from headrace.registry.records import NodeRecord

EDGES_MAX = 16
"""Most edges told to a player: it tries them in order, and the first few answer or nobody does."""

SERVING_ROLES = frozenset({"edge", "standalone"})
"""Roles of nodes that serve players."""


def socket_url(public_url: str) -> str:
    """Return the WebSocket base URL that belongs to an HTTP one: `ws` for `http`, no slash at the end."""
    for http, websocket in (("https://", "wss://"), ("http://", "ws://")):
        if public_url.startswith(http):
            return websocket + public_url.removeprefix(http).rstrip("/")
    return public_url.rstrip("/")


def rank_edges(own_node: str, region: str, nodes: Iterable[NodeRecord]) -> tuple[str, ...]:
    """Return the base URLs of the other edges that players may go to, the best first.

    Those of the same region come first, then the least loaded; draining ones are left out.
    """
    others = [
        node
        for node in nodes
        if node.node != own_node and node.role in SERVING_ROLES and node.public_url and not node.draining
    ]
    others.sort(key=lambda node: (node.region != region, node.load, node.node))
    return tuple(dict.fromkeys(socket_url(node.public_url) for node in others))[:EDGES_MAX]
