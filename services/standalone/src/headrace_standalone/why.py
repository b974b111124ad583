"""`headrace nodes --why`: what each node thinks of the others when it looks for a parent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from headrace.errors import StartupError
from headrace.identifiers import NodeId, StreamName
from headrace.registry.placement import explain_parents
from headrace.registry.records import NodeRecord
from headrace.registry.registry import Registry
from headrace.session.placing import moved_to
from headrace_standalone.listing import list_console
from headrace_standalone.shared_registry import with_registry


def why(stream: StreamName, of: NodeId | None, config: Path | None, environ: Mapping[str, str], as_json: bool) -> None:
    """Print how nodes rank their parents for `stream`: node `of`, or all that carry it and are not its owner.

    It is computed here, from the same records by the same function as in the nodes; what a node saw fail a moment ago
    is its own knowledge and not in it. Errors are those of `with_registry`.
    """

    async def look(registry: Registry) -> list[dict[str, Any]]:
        return [_explain(registry, stream, node) for node in _askers(registry, stream, of)]

    explained = with_registry(config, environ, look)
    if as_json:
        print(json.dumps({"stream": stream, "nodes": explained}, indent=2))
    else:
        _show(list_console(), explained)


def _askers(registry: Registry, stream: StreamName, of: NodeId | None) -> list[NodeRecord]:
    if of is not None:
        if of not in registry.nodes:
            raise StartupError(f"there is no node {of}; 'headrace nodes' lists them")
        return [registry.nodes[of]]
    owner = registry.streams.get(stream)
    if owner is None and not any(stream in node.streams for node in registry.nodes.values()):
        raise StartupError(f"there is no stream {stream}; 'headrace streams' lists them")
    carriers = [node for node in registry.nodes.values() if stream in node.streams]
    return sorted((one for one in carriers if owner is None or one.node != owner.node), key=lambda one: one.node)


def _explain(registry: Registry, stream: StreamName, me: NodeRecord) -> dict[str, Any]:
    preferred = moved_to(stream, NodeId(me.node), registry)
    lost = stream in me.streams
    verdicts = explain_parents(me, stream, registry.nodes.values(), registry.streams, prefer=preferred, lost=lost)
    parents = [{"node": one.node, "place": one.place, "why": one.why} for one in verdicts]
    return {"node": me.node, "role": me.role, "layer": me.layer, "moved_to": preferred, "parents": parents}


def _show(console: Console, explained: Iterable[Mapping[str, Any]]) -> None:
    rows = Table("node", "place", "parent", "why", box=None, pad_edge=False, header_style="bold")
    for one in explained:
        for parent in one["parents"]:
            place = "-" if parent["place"] is None else str(parent["place"] + 1)
            rows.add_row(one["node"], place, parent["node"], parent["why"])
    console.print(rows if rows.row_count else "no node fetches it")
