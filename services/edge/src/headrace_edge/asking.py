"""What a request tells the gate, and what the gate's refusals are in HTTP."""

from __future__ import annotations

from typing import Final

from aiohttp import hdrs, web

from headrace.access.policy import Asked
from headrace.identifiers import StreamName
from headrace.transport.reaching import PROXY_HEADERS
from headrace_edge.live.tickets import is_session

ORIGIN_MAX_CHARACTERS: Final = 300
"""Longest origin that a page has: a host's name with a scheme and a port."""


def asked_of(request: web.Request, name: StreamName, session: str = "") -> Asked:
    """Return who asks for what; the token comes as `?token=` or as `Authorization: Bearer`.

    A page that may play by several doors names the session that they share, as `?session=`; `session` is the player's.
    The address is that of the connection: what a proxy says of others is not believed.
    """
    named = request.query.get("session", "")
    return Asked(
        stream=name,
        token=pick_token(request.query.get("token"), request.headers.get(hdrs.AUTHORIZATION, "")),
        session=named if is_session(named) else session,
        origin=_origin(request),
        address=request.remote or "",
        host=_host(request),
        is_proxied=any(header in request.headers for header in PROXY_HEADERS),
    )


def _origin(request: web.Request) -> str | None:
    """Return the page's origin, which is told to others; what no browser sends is opaque (RFC 6454, section 7.1)."""
    origin = request.headers.get(hdrs.ORIGIN)
    if origin is None or (origin.isascii() and origin.isprintable() and len(origin) <= ORIGIN_MAX_CHARACTERS):
        return origin
    return "null"


def _host(request: web.Request) -> str:
    """Return the name by which the edge was asked; empty when that is none."""
    try:
        return request.url.host or ""
    except ValueError:  # whoever asks writes into its Host header what it likes
        return ""


def status_of(code: str) -> int:
    """Return the HTTP status for a refusal."""
    return {"token_needed": 401, "bad_token": 401, "token_expired": 401, "away": 503}.get(code, 403)


def challenge_of(status: int) -> dict[str, str]:
    """Return the header that a refusal of this status must have: how a token may be shown (RFC 9110, 11.6.1)."""
    return {hdrs.WWW_AUTHENTICATE: 'Bearer realm="headrace"'} if status == 401 else {}


def pick_token(query: str | None, authorization: str) -> str:
    """Return the token of a request: that of the query, else the bearer token of the header."""
    scheme, _, given = authorization.partition(" ")
    return query or (given.strip() if scheme.lower() == "bearer" else "")
