"""Answers in the shapes of Flashphoner WCS."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import hdrs, web
from pydantic import ValidationError

from headrace.http.application import detail_of

PREFIX: Final = "/rest-api"

_SENTENCES: Final = {
    404: "There is no such call here",
    405: "This call is not made by this method",
    413: "The body is longer than is taken",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger(__name__)

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


@web.middleware
async def answer_wcs_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer what goes wrong below `PREFIX` in WCS's shape."""
    if f"{request.path}/".startswith(f"{PREFIX}/"):
        return await _answer(request, handler)
    return await handler(request)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPError as error:
        response = wcs_error(request, error.status, _SENTENCES.get(error.status) or detail_of(error))
        if hdrs.ALLOW in error.headers:
            response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        return response
    except ConnectionError:
        raise  # the client went away: nobody is left to answer to
    except Exception:
        log.exception("request_failed", method=request.method, path=request.path)
        return wcs_error(request, 500, "This is a fault of the server; its log says more")


def wcs_json(document: Any) -> web.Response:
    """Return an answer with a body."""
    return web.json_response(body=json.dumps(document, separators=(",", ":")).encode(), headers=_NO_STORE)


def first_fault(error: ValidationError) -> str:
    """Return the first thing that is wrong with a body, in a sentence."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = ".".join(map(str, first["loc"]))[:128] or "body"
    return f"{field}: {first['msg']}"
