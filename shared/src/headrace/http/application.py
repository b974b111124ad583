"""The web application every service begins with: probes, metrics, plain answers to errors, careful headers."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog
from aiohttp import hdrs, web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0

from headrace.http.problems import problem
from headrace.http.request_ids import name_request, tell_request_id
from headrace.telemetry.health import Health
from headrace.version import SOFTWARE

BODY_MAX_BYTES = 64 * 1024
"""Largest request body an application takes unless it says otherwise: an order by API has a few hundred bytes."""

CORS_MAX_AGE_SECONDS = 600
"""How long a browser may remember the answer to its preflight request."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger(__name__)


class Probed(Protocol):
    """What the probes need of a process; `headrace.service.runtime.Runtime` is one."""

    @property
    def metrics(self) -> CollectorRegistry: ...

    @property
    def health(self) -> Health: ...


class Probes(Protocol):
    """Who answers the probes."""

    async def metrics(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        ...

    async def problems(self) -> Mapping[str, str]:
        """Return what is wrong, by check; empty when all is well."""
        ...


@dataclass(frozen=True, slots=True)
class OwnProbes:
    """Answers them for one process.

    Attributes:
        process: that one.
    """

    process: Probed

    async def metrics(self) -> bytes:
        return generate_latest(self.process.metrics)

    async def problems(self) -> Mapping[str, str]:
        return self.process.health.problems()


LIVE, READY, METRICS = PROBES = ("/health/live", "/health/ready", "/metrics")
"""For operators: pages of other origins may not read them."""


def make_application(
    runtime: Probed, *, cors: bool = False, body_max_bytes: int = BODY_MAX_BYTES, probes: Probes | None = None
) -> web.Application:
    """Return an application that answers `/health/live`, `/health/ready` and `/metrics`, and names each request.

    Paths below `/api/` get errors as problem documents, all others as one line of text. With `cors`, pages of any
    origin may read what it answers, without credentials: the pages of one edge use the others so. `probes` answers for
    more than this process.
    """
    probes = probes or OwnProbes(runtime)
    middlewares = [name_request, _allow_any_origin, _answer_errors] if cors else [name_request, _answer_errors]
    app = web.Application(middlewares=middlewares, client_max_size=body_max_bytes)
    app.on_response_prepare.extend([_add_headers, tell_request_id])
    app.add_routes(
        [
            web.get(LIVE, _live),
            web.get(READY, _ready_handler(probes)),
            web.get(METRICS, _metrics_handler(probes)),
        ]
    )
    return app


async def _live(request: web.Request) -> web.Response:
    return web.json_response({"live": True})


def _ready_handler(probes: Probes) -> Handler:
    async def ready(request: web.Request) -> web.Response:
        problems = await probes.problems()
        body = {"ready": not problems, "checks": problems}
        return web.json_response(body, status=503 if problems else 200, headers={hdrs.CACHE_CONTROL: "no-store"})

    return ready


def _metrics_handler(probes: Probes) -> Handler:
    async def metrics(request: web.Request) -> web.Response:
        return web.Response(body=await probes.metrics(), headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_1_0_0})

    return metrics


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[hdrs.SERVER] = SOFTWARE
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "no-referrer")


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPError as error:
        kept = {str(name): error.headers[name] for name in (hdrs.ALLOW, hdrs.RETRY_AFTER) if name in error.headers}
        return _error(request, error.status, detail_of(error), kept)
    except ConnectionError:
        raise  # the client went away: nobody is left to answer to
    except Exception:
        log.exception("request_failed", method=request.method, path=request.path)
        return _error(request, 500, "This is a fault of the server; its log says more.", {})


@web.middleware
async def refuse_encoded(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse bodies with a `Content-Encoding` (RFC 9110, section 15.5.16)."""
    if (encoding := request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()) != "identity":
        said = f"Bodies are taken as they are, without Content-Encoding, not as {encoding[:32]!r}."
        raise web.HTTPUnsupportedMediaType(text=said)
    return await handler(request)


def detail_of(error: web.HTTPError) -> str:
    """Return what an error says beyond its status; nothing where it says no more."""
    return "" if error.text is None or error.text == f"{error.status}: {error.reason}" else error.text


def _error(request: web.Request, status: int, detail: str, headers: dict[str, str]) -> web.Response:
    if request.path.startswith("/api/"):
        return problem(status, detail, headers=headers)
    title = json.loads(problem(status).text or "{}")["title"]
    return web.Response(status=status, text=f"{status} {title}{': ' if detail else ''}{detail}\n", headers=headers)


@web.middleware
async def _allow_any_origin(request: web.Request, handler: Handler) -> web.StreamResponse:
    preflight = request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    response = web.Response(status=204, headers=_PREFLIGHT) if preflight else await handler(request)
    if not response.prepared and request.path not in PROBES:
        response.headers.update(ANY_ORIGIN)
    return response


ANY_ORIGIN: Mapping[str, str] = {
    hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*",
    # Beside what pages may read of any answer: players tell the age of what caches give them, and how to come again.
    hdrs.ACCESS_CONTROL_EXPOSE_HEADERS: "Age, Content-Range, Date, ETag, Retry-After, WWW-Authenticate",
}
"""Headers of answers that pages of any origin may read."""

_PREFLIGHT = {
    hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, HEAD, OPTIONS",
    # Tokens, what players ask by, and what those of DASH tell (CTA-5004, 2.1); `*` would not stand for Authorization.
    hdrs.ACCESS_CONTROL_ALLOW_HEADERS: (
        "Authorization, Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, "
        "Cache-Control, Pragma, CMCD-Request, CMCD-Object, CMCD-Status, CMCD-Session"
    ),
    hdrs.ACCESS_CONTROL_MAX_AGE: str(CORS_MAX_AGE_SECONDS),
}
