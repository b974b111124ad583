"""The HTTP interface as a whole: both faces, the pages, and who is let in."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from headrace.http.application import refuse_encoded
from headrace.http.checks import Checks
from headrace.http.problems import Problem, problem
from headrace.http.request_ids import REQUEST_ID
from headrace.registry.registry import Registry
from headrace_control_api.access import Access, Refusal, Scope
from headrace_control_api.api import make_api
from headrace_control_api.asking_nodes import Nodes
from headrace_control_api.counting import ApiMetrics
from headrace_control_api.events import EventLog
from headrace_control_api.pages import page_routes
from headrace_control_api.pictures import Pictures
from headrace_control_api.rates import Rates
from headrace_control_api.snapshots import snapshot_route
from headrace_control_api.tokens import TokenOffice
from headrace_control_api.transfer_operations import KEY_HEADER
from headrace_control_api.transfers import Engine
from headrace_control_api.wcs import wcs_routes
from headrace_control_api.wcs_answers import PREFIX as WCS
from headrace_control_api.wcs_answers import answer_wcs_errors, wcs_error

PREFLIGHT_SECONDS = 600
"""How long a browser may remember the answer to its preflight request."""

_GUARDED = ("/api/", f"{WCS}/")
_SCOPE = web.RequestKey("headrace-scope", Scope)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger(__name__)


def add_routes(
    app: web.Application,
    registry: Registry,
    access: Access,
    metrics: ApiMetrics,
    events: EventLog,
    office: TokenOffice,
    rates: Rates | None = None,
    pictures: Pictures | None = None,
    nodes: Nodes | None = None,
    checks: Checks | None = None,
) -> None:
    """Let `app` answer the API from what `registry` knows, as often as `rates` allow."""
    app.middlewares.insert(1, _share(access))  # inside of what names requests
    # Inside of what answers errors: a fault of the guard itself is answered as one too.
    app.middlewares.extend([answer_wcs_errors, _guard(access, metrics, rates), refuse_encoded])
    app.on_response_prepare.append(_tell_sharing(access))
    app.on_shutdown.append(events.end)
    api = make_api(registry, events, office, pictures, nodes, checks)
    wcs = [
        snapshot_route(WCS, registry, pictures),
        *wcs_routes(registry, Engine(registry, office.clock), _may_not_write),
    ]
    app.add_routes([*page_routes(api), *api.routes(_may), *wcs])


def _may(request: web.Request, scope: str) -> Problem | None:
    granted = request[_SCOPE]
    if granted >= Scope[scope.upper()]:
        return None
    return Problem(403, f"This token allows {granted.name.lower()}, and {scope} is needed.")


def _may_not_write(request: web.Request) -> str:
    refusal = _may(request, "write")
    return refusal.detail if refusal else ""


def _guard(access: Access, metrics: ApiMetrics, rates: Rates | None) -> Middleware:
    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not request.path.startswith(_GUARDED):
            return await handler(request)
        granted = access.grant(request.headers, request.remote)
        if rates is not None and (seconds := rates.take(_asker(request, access, granted), time.monotonic())):
            granted = Refusal(429, f"Too many requests: ask again in {math.ceil(seconds)} s.", math.ceil(seconds))
        if isinstance(granted, Refusal):
            metrics.refused.labels(str(granted.status)).inc()
            return _refuse(request, granted)
        request[_SCOPE] = granted
        began = time.monotonic()
        status = 500
        try:
            response = await handler(request)
            status = response.status
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            metrics.requests.labels(str(status)).inc()
            _tell(request, status, time.monotonic() - began)
        return response

    return guard


def _tell(request: web.Request, status: int, seconds: float) -> None:
    tell = log.debug if request.method in {hdrs.METH_GET, hdrs.METH_HEAD} else log.info
    tell("api_request", method=request.method, path=request.path[:256], status=status, seconds=round(seconds, 4))


def _asker(request: web.Request, access: Access, granted: Scope | Refusal) -> str:
    """Return whose request this is: a token's that is known, else an address's, so that guessing has its limit too."""
    if not access.tokens or isinstance(granted, Refusal):
        return request.remote or ""
    shown = request.headers.get(hdrs.AUTHORIZATION, "").encode(errors="surrogateescape")
    return hashlib.blake2b(shown, digest_size=16).hexdigest()


def _refuse(request: web.Request, refusal: Refusal) -> web.Response:
    if request.path.startswith(WCS):
        response = wcs_error(request, refusal.status, refusal.detail)
    else:
        response = problem(refusal.status, refusal.detail)
    if refusal.retry_seconds:
        response.headers[hdrs.RETRY_AFTER] = str(refusal.retry_seconds)
    if refusal.status == 401:
        response.headers[hdrs.WWW_AUTHENTICATE] = 'Bearer realm="headrace"'
    return response


def _share(access: Access) -> Middleware:
    """Return what answers the preflight requests of pages of the configured origins."""

    @web.middleware
    async def share(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is None or not request.path.startswith(_GUARDED) or not access.allows_origin(origin):
            return await handler(request)
        if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
            return web.Response(status=204, headers=_PREFLIGHT)
        return await handler(request)

    return share


def _tell_sharing(access: Access) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def tell(request: web.Request, response: web.StreamResponse) -> None:
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None and request.path.startswith(_GUARDED) and access.allows_origin(origin):
            response.headers.update(_sharing(origin))

    return tell


def _sharing(origin: str) -> dict[str, str]:
    return {
        hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: origin,
        hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: f"ETag, {hdrs.RETRY_AFTER}, {REQUEST_ID}",
        hdrs.VARY: "Origin",
    }


_PREFLIGHT = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, POST, PUT, DELETE, OPTIONS",
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: f"Authorization, Content-Type, {KEY_HEADER}, If-None-Match, Last-Event-ID",
    hdrs.ACCESS_CONTROL_MAX_AGE: str(PREFLIGHT_SECONDS),
}
