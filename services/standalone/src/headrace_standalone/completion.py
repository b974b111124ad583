"""What the shell may complete beyond commands and options: names that the control API knows now."""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import quote

import typer

COMPLETE_SECONDS: Final = 1.5
"""How long somebody who pressed Tab waits at most."""

OFFERED_MAX: Final = 50
"""Most names that are offered: more help nobody."""


def streams(context: typer.Context, incomplete: str) -> list[str]:
    """Return names of streams that begin so."""
    query = f"streams?limit={OFFERED_MAX}&prefix={quote(incomplete, safe='')}"
    return [stream["name"] for stream in _ask(context, query).get("streams", ())]


def nodes(context: typer.Context, incomplete: str) -> list[str]:
    """Return names of nodes that begin so."""
    found = [node["id"] for node in _ask(context, "nodes").get("nodes", ())]
    return [name for name in found if name.startswith(incomplete)][:OFFERED_MAX]


def viewers(context: typer.Context, incomplete: str) -> list[str]:
    """Return ids of viewers that begin so."""
    found = [viewer["id"] for viewer in _ask(context, "viewers").get("viewers", ())]
    return [name for name in found if name.startswith(incomplete)][:OFFERED_MAX]


def transferred(context: typer.Context, incomplete: str) -> list[str]:
    """Return names here of streams that are transferred and begin so."""
    found = {transfer["local_name"] for transfer in _ask(context, "transfers").get("transfers", ())}
    return sorted(name for name in found if name.startswith(incomplete))[:OFFERED_MAX]


def policies(context: typer.Context, incomplete: str) -> list[str]:
    """Return patterns of policies that begin so."""
    found = [policy["pattern"] for policy in _ask(context, "policies").get("policies", ())]
    return [pattern for pattern in found if pattern.startswith(incomplete)][:OFFERED_MAX]


def licences(context: typer.Context, incomplete: str) -> list[str]:
    """Return keys of licences that begin so."""
    found = [licence["key"] for licence in _ask(context, "licences").get("licences", ())]
    return [key for key in found if key.startswith(incomplete)][:OFFERED_MAX]


def _ask(context: typer.Context, path: str) -> dict[str, Any]:
    """Return what the API answers; nothing when it does not: a shell that completes shows no errors."""
    from headrace.errors import ConfigurationError, StartupError
    from headrace_standalone.api import send
    from headrace_standalone.options import DEFAULT_API

    api = context.params.get("api") or os.environ.get("HEADRACE_API") or DEFAULT_API
    try:
        return send(api, "GET", f"/api/v1/{path}", os.environ, seconds=COMPLETE_SECONDS)
    except (ConfigurationError, StartupError):
        return {}
