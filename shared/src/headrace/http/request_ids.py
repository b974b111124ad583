"""A name for every request, in its answer and in every log line that is written while it is answered."""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

from headrace.telemetry.logging import answered_request, answering

REQUEST_ID = "X-Request-Id"

_NAME = web.RequestKey("headrace-request-id", str)

_GIVEN = re.compile(r"[A-Za-z0-9_.:-]{1,64}", re.ASCII)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@web.middleware
async def name_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the log its `request_id`: the one that a proxy gave, if it is well formed, or a new one."""
    given = request.headers.get(REQUEST_ID, "")
    request[_NAME] = name = given if _GIVEN.fullmatch(given) else secrets.token_hex(8)
    with answering(name):
        return await handler(request)


def onward() -> dict[str, str]:
    """Return the header by which a request to another node gets the name of the one that it is made for."""
    name = answered_request()
    return {} if name is None else {REQUEST_ID: name}


async def tell_request_id(request: web.Request, response: web.StreamResponse) -> None:
    """Put the name into the answer; for `on_response_prepare`."""
    if _NAME in request:
        response.headers[REQUEST_ID] = request[_NAME]
