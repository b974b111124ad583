"""Pages and documents about the API itself."""

from __future__ import annotations

import json

from aiohttp import hdrs, web

from headrace.http.openapi import openapi
from headrace.http.operations import Api
from headrace.http.reference import STYLE, as_html
from headrace.version import VERSION
from headrace_control_api.api import PREFIX

_CACHE: dict[str, str] = {hdrs.CACHE_CONTROL: "no-cache"}
_PAGE: dict[str, str] = {
    **_CACHE,
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; frame-ancestors 'none'",
}


def page_routes(api: Api) -> list[web.RouteDef]:
    """Return the routes of the index, the OpenAPI document and its page."""
    document = openapi(api)
    text = json.dumps(document, indent=1)
    page = as_html(document, style_url="/docs/style.css", document_url=f"{PREFIX}/openapi.json")

    async def show_document(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="application/json", headers=_CACHE)

    async def show_page(request: web.Request) -> web.Response:
        return web.Response(text=page, content_type="text/html", headers=_PAGE)

    async def show_style(request: web.Request) -> web.Response:
        return web.Response(text=STYLE, content_type="text/css", headers=_CACHE)

    return [
        web.get("/", _index),
        web.get(f"{PREFIX}/openapi.json", show_document),
        web.get("/docs", show_page),
        web.get("/docs/style.css", show_style),
    ]


async def _index(request: web.Request) -> web.Response:
    links = {
        "streams": f"{PREFIX}/streams",
        "nodes": f"{PREFIX}/nodes",
        "topology": f"{PREFIX}/topology",
        "events": f"{PREFIX}/events",
        "openapi": f"{PREFIX}/openapi.json",
        "docs": "/docs",
        "ready": "/health/ready",
        "metrics": "/metrics",
    }
    document = {"name": "headrace-control-api", "version": VERSION, "links": links}
    return web.json_response(document, headers={hdrs.CACHE_CONTROL: "no-store"})
