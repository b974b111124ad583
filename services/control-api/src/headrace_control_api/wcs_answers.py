"""Answers in the shapes of Flashphoner WCS."""

from __future__ import annotations

import json
import time
from http import HTTPStatus
from typing import Any

from aiohttp import hdrs, web
from pydantic import ValidationError

_NO_STORE = {hdrs.CACHE_CONTROL: "no-store"}


def wcs_error(request: web.Request, status: int, message: str) -> web.Response:
    """Return an error as WCS tells it."""
    document = {
        "timestamp": round(time.time() * 1000),
        "status": status,
        "error": HTTPStatus(status).phrase,
        "message": message,
        "path": request.path[:256],
    }
    return web.json_response(document, status=status, headers=_NO_STORE)


def wcs_json(document: Any) -> web.Response:
    """Return an answer with a body."""
    return web.json_response(body=json.dumps(document, separators=(",", ":")).encode(), headers=_NO_STORE)


def first_fault(error: ValidationError) -> str:
    """Return the first thing that is wrong with a body, in a sentence."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))[:128] or "body"
    return f"{field}: {first['msg']}"
