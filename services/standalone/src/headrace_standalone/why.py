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
from headrace.registry.registry import Registry
from headrace_control_api.choosing import NobodyChooses, choices
from headrace_standalone.listing import list_console
from headrace_standalone.shared_registry import with_registry


def why(stream: StreamName, of: NodeId | None, config: Path | None, environ: Mapping[str, str], as_json: bool) -> None:
    """Print how nodes rank their parents for `stream`: node `of`, or all that carry it and are not its owner.

    Errors are those of `with_registry`.
    """

    async def look(registry: Registry) -> dict[str, Any]:
        try:
            return choices(registry, stream, of).model_dump()
        except NobodyChooses as error:
            raise StartupError(f"{error}; 'headrace nodes' and 'headrace streams' list what there is") from None

    explained = with_registry(config, environ, look)
    if as_json:
        print(json.dumps(explained, indent=2))
    else:
        _show(list_console(), explained["nodes"])


def _show(console: Console, explained: Iterable[Mapping[str, Any]]) -> None:
    rows = Table("node", "place", "parent", "why", box=None, pad_edge=False, header_style="bold")
    for one in explained:
        for parent in one["parents"]:
            place = "-" if parent["place"] is None else str(parent["place"] + 1)
            rows.add_row(one["node"], place, parent["node"], parent["why"])
    console.print(rows if rows.row_count else "no node fetches it")
