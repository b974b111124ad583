"""What a request tells the gate, and what the gate's refusals are in HTTP."""

from __future__ import annotations

from aiohttp import hdrs, web

from headrace.access.gate import pick_token
from headrace.access.policy import Asked
from headrace.identifiers import StreamName


def asked_of(request: web.Request, name: StreamName, session: str = "") -> Asked:
    """Return who asks for what; the token comes as `?token=` or as `Authorization: Bearer`.

    The address is that of the connection: what a proxy says of others is not believed.
    """
    return Asked(
        stream=name,
        token=pick_token(request.query.get("token"), request.headers.get(hdrs.AUTHORIZATION, "")),
        session=session,
        origin=request.headers.get(hdrs.ORIGIN),
        address=request.remote or "",
    )


def status_of(code: str) -> int:
    """Return the HTTP status for a refusal."""
    return {"token_needed": 401, "bad_token": 401, "token_expired": 401, "away": 503}.get(code, 403)
