"""The gate of this edge, as the settings want it, and the way of HLS and DASH past it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from headrace.access.gate import Gate
from headrace.access.gate_options import GateOptions
from headrace.access.keyring import Keyring, RemoteKeys
from headrace.access.policy import Asked, Policy
from headrace.access.tokens import InvalidKeys, TokenRefused
from headrace.access.viewing import GateStore, make_viewing
from headrace.access.webhook import Webhook, WebhookOptions
from headrace.errors import ConfigurationError
from headrace.http.problems import problem
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace_edge.asking import asked_of, challenge_of, status_of
from headrace_edge.edge import Edge
from headrace_edge.live.paths import Index, Manifest, Resource, Time, parse_path
from headrace_edge.live.sessions import PREPARED, LiveSessions, answer_while
from headrace_edge.live.tickets import Ticket, make_ticket, split_ticket, ticketed_location
from headrace_edge.pages import SESSION_BYTES

LIVE = "/live/"
LIVE_DOOR = "live"

AUTHORIZE = "/authorize"
"""Where a cache in front asks whether a request may be answered from it (nginx: `auth_request`)."""

ORIGINAL_URI = "X-Original-URI"
"""Names the request that a cache asks about: path and query, as the client sent them."""

ORIGINAL_METHOD = "X-Original-Method"
"""The method of that request."""

KEPT_FOR = "X-Headrace-Kept-For"
"""A cache that asks at `AUTHORIZE` for every request says so by `asking`: it may keep what needs a token."""

_PROTECTED = web.RequestKey("headrace-protected", bool)
_TICKETED = web.RequestKey("headrace-ticketed", bool)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_gate(settings: Settings, runtime: Runtime, viewing: GateStore | None = None, name: str = "") -> Gate:
    """Return the gate that the settings ask for.

    Viewers are known in `viewing`, or where the registry is. `name` tells the gate from all others; without, the node
    has no other.

    Raises:
        ConfigurationError: when the keys cannot be used.
    """
    access, registry = settings.access, settings.registry
    options = GateOptions(
        node=name or runtime.node,
        policy=Policy(access.policy, tuple(access.streams.items())),
        refuse_while_away=access.while_away == "refuse",
        lease_seconds=registry.lease_seconds,
    )
    if viewing is None:
        viewing = make_viewing(registry.url, registry.prefix, registry.lease_seconds, runtime.clock)
    own = [secret.get_secret_value() for secret in access.secrets]
    try:
        remote = RemoteKeys(access.jwks_url, access.jwks_seconds) if access.jwks_url else None
        keys = Keyring(own, None if access.jwks_file is None else Path(access.jwks_file), remote)
    except InvalidKeys as error:
        raise ConfigurationError(f"access: {error}") from None
    gate = Gate(options, keys, viewing, runtime.clock, runtime.spawn, _webhook(settings, runtime))
    runtime.health.add("viewer tokens", lambda: gate.problem)
    return gate


def _webhook(settings: Settings, runtime: Runtime) -> Webhook | None:
    access = settings.access
    if not access.webhook_url:
        return None
    secret = access.webhook_secret.get_secret_value()
    allow = access.webhook_away == "allow"
    options = WebhookOptions(access.webhook_url, secret, access.webhook_seconds, allow)
    return Webhook(options, runtime.node, runtime.clock)


class LiveGuard:
    """Stands before HLS and DASH: each request for a stream that needs a token shows it, itself or by its ticket."""

    def __init__(self, gate: Gate, edge: Edge, sessions: LiveSessions) -> None:
        self._gate = gate
        self._edge = edge
        self._sessions = sessions

    def add_to(self, app: web.Application) -> None:
        """Put the guard before the handlers of `app`."""
        app.middlewares.append(self._middleware())
        app.on_response_prepare.append(self._mark)
        app.router.add_get(AUTHORIZE, self._authorize)

    def _middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            if not request.path.startswith(LIVE) or request.method == hdrs.METH_OPTIONS:
                return await handler(request)
            ticket, rest = split_ticket(request.match_info.get("path", ""))
            parsed = parse_path(rest)
            if ticket is not None:
                request.match_info["path"] = rest
            if parsed is None or isinstance(parsed[1], Time) or self._gate.mode_of(parsed[0]) == "public":
                return await handler(request)
            request[_PROTECTED], request[_TICKETED] = True, ticket is not None
            asked = replace(asked_of(request, parsed[0]), door=LIVE_DOOR)
            try:
                if ticket is None:
                    return await self._answer_one(request, asked, parsed[1], handler)
                session = await self._sessions.enter(_with(ticket, asked), begins=_begins(parsed[1]))
                return await self._sessions.answer(session, request, handler)
            except TokenRefused as refused:
                return self._refuse(refused)

        return guard

    async def _answer_one(
        self, request: web.Request, asked: Asked, resource: Resource, handler: Handler
    ) -> web.StreamResponse:
        """Answer a request that shows its token itself; who begins with one in the query gets a ticket instead.

        Raises:
            TokenRefused: when it may not be answered.
        """
        counted = self._gate.mode_of(asked.stream) != "token" or self._is_counted(asked)
        if isinstance(resource, Index | Manifest) and (counted or "token" in request.query):
            ticket = make_ticket(asked.session or secrets.token_urlsafe(SESSION_BYTES), asked.token)
            if ticket is not None:
                return _send_on(request, ticket)
        if counted:
            reason = "viewers are counted: begin with index.m3u8 or manifest.mpd and follow where they send you"
            raise TokenRefused("session_needed", reason)
        held = self._gate.hold(asked)
        asking: set[asyncio.Task[Any]] = set()

        def end(code: str, reason: str) -> None:
            for task in asking:
                task.cancel()

        held.when_ended(end)
        try:
            return await answer_while(held, asking, request, handler)
        finally:
            self._gate.leave(held)

    def _is_counted(self, asked: Asked) -> bool:
        token = self._gate.check(asked)
        return token is not None and token.viewers_max is not None

    async def _authorize(self, request: web.Request) -> web.StreamResponse:
        """Answer a cache that asks about a request: 204 when it may be answered, else why not.

        The cache goes by the path as it understands it, we by the text that the client sent: what is not plainly one of
        our paths is refused, so that no spelling of it means one thing here and another there.
        """
        if request.headers.get(ORIGINAL_METHOD) == hdrs.METH_OPTIONS:
            return web.Response(status=204)  # what it answers holds nothing of any stream, and browsers show no token
        path = request.headers.get(ORIGINAL_URI, "").partition("?")[0]
        ticket, rest = split_ticket(unquote(path).removeprefix(LIVE))
        parsed = parse_path(rest)
        if parsed is None:
            return self._refuse(TokenRefused("bad_name", "no stream, playlist or segment has this name"))
        if self._gate.mode_of(parsed[0]) == "public":
            return web.Response(status=204)
        asked = replace(asked_of(request, parsed[0]), door=LIVE_DOOR)
        try:
            if ticket is None:
                raise TokenRefused("token_needed", "only addresses with a session are kept")
            await self._sessions.enter(_with(ticket, asked), begins=_begins(parsed[1]))
        except TokenRefused as refused:
            return self._refuse(refused)
        return web.Response(status=204)

    async def _mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Keep streams that need a token out of shared caches, but for one that asks before it answers."""
        request[PREPARED] = True
        caching = response.headers.get(hdrs.CACHE_CONTROL, "")
        if not request.get(_PROTECTED) or "public" not in caching:
            return
        # Only where the address itself holds the session: by any other it would be kept for those without a token too.
        if request[_TICKETED] and request.headers.get(KEPT_FOR) == "asking":
            age = next((part.removeprefix("max-age=") for part in caching.split(", ") if "max-age=" in part), "0")
            del response.headers[hdrs.CACHE_CONTROL]  # nginx heeds what comes first
            response.headers["X-Accel-Expires"] = age
        response.headers[hdrs.CACHE_CONTROL] = caching.replace("public", "private")

    def _refuse(self, refused: TokenRefused) -> web.Response:
        self._edge.refusal(LIVE_DOOR, refused.code, refused.reason)
        status = status_of(refused.code)
        return problem(status, refused.reason, headers={hdrs.CACHE_CONTROL: "no-store", **challenge_of(status)})


def _with(ticket: Ticket, asked: Asked) -> Asked:
    return replace(asked, session=ticket.session, token=ticket.token or asked.token)


def _begins(resource: Resource) -> bool:
    return isinstance(resource, Index | Manifest)


def _send_on(request: web.Request, ticket: Ticket) -> web.Response:
    kept = request.rel_url.query.copy()
    for name in ("token", "session"):
        kept.popall(name, None)
    query = request.rel_url.with_query(kept).raw_query_string
    location = ticketed_location(request.rel_url.raw_path, query, ticket)
    return web.Response(status=302, headers={hdrs.LOCATION: location, hdrs.CACHE_CONTROL: "no-store"})
