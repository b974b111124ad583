"""Errors of HTTP interfaces as problem documents (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web

PROBLEM_JSON = "application/problem+json"


def problem(status: int, detail: str = "", *, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return a response that says what went wrong, for programs and people alike."""
    document: dict[str, object] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    if detail:
        document["detail"] = detail
    return web.Response(
        status=status, text=json.dumps(document) + "\n", content_type=PROBLEM_JSON, headers=dict(headers or {})
    )
