"""The gate of this edge, as the settings want it, and the way of HLS and DASH past it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from headrace.access.gate import Gate, GateOptions
from headrace.access.policy import Policy
from headrace.access.tokens import InvalidKeys, TokenRefused
from headrace.access.viewing import Viewing, make_viewing
from headrace.errors import ConfigurationError
from headrace.http.problems import problem
from headrace.identifiers import StreamName
from headrace.service.runtime import Runtime
from headrace.service.settings import Settings
from headrace_edge.asking import asked_of, status_of
from headrace_edge.edge import Edge
from headrace_edge.live.paths import parse_path

LIVE = "/live/"
LIVE_DOOR = "live"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_gate(settings: Settings, runtime: Runtime, viewing: Viewing | None = None) -> Gate | None:
    """Return the gate that the settings ask for; `None` when every stream is public.

    Sessions are counted in `viewing`, or where the registry is.

    Raises:
        ConfigurationError: when the keys cannot be used.
    """
    access, registry = settings.access, settings.registry
    policy = Policy(access.policy, tuple(access.streams.items()))
    if policy.is_open:
        return None
    options = GateOptions(
        node=runtime.node,
        policy=policy,
        secrets=tuple(secret.get_secret_value() for secret in access.secrets),
        jwks_file=None if access.jwks_file is None else Path(access.jwks_file),
        refuse_while_away=access.while_away == "refuse",
        lease_seconds=registry.lease_seconds,
    )
    if viewing is None:
        viewing = make_viewing(registry.url, registry.prefix, registry.lease_seconds, runtime.clock)
    try:
        gate = Gate(options, viewing, runtime.clock, runtime.spawn)
    except InvalidKeys as error:
        raise ConfigurationError(f"access: {error}") from None
    runtime.health.add("viewer tokens", lambda: gate.problem)
    return gate


def guard_live(gate: Gate, edge: Edge) -> Middleware:
    """Return what stands before HLS and DASH: each request for a stream that needs a token shows it.

    A token that limits viewers is refused here: a request is no session that could be counted.
    """

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        name = _protected(gate, request)
        if name is None or request.method == hdrs.METH_OPTIONS:
            return await handler(request)
        try:
            token = gate.check(asked_of(request, name))
            if token is not None and token.viewers_max is not None:
                raise TokenRefused("viewers", "this token limits viewers, who are not counted here")
        except TokenRefused as refused:
            edge.refusal(LIVE_DOOR, refused.code, refused.reason)
            return problem(status_of(refused.code), refused.reason, headers={hdrs.CACHE_CONTROL: "no-store"})
        return await handler(request)

    return guard


def keep_private(gate: Gate) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Return what keeps streams that need a token out of shared caches; for `on_response_prepare`."""

    async def mark(request: web.Request, response: web.StreamResponse) -> None:
        caching = response.headers.get(hdrs.CACHE_CONTROL, "")
        if "public" in caching and _protected(gate, request) is not None:
            response.headers[hdrs.CACHE_CONTROL] = caching.replace("public", "private")

    return mark


def _protected(gate: Gate, request: web.Request) -> StreamName | None:
    if not request.path.startswith(LIVE):
        return None
    parsed = parse_path(request.match_info.get("path", ""))
    if parsed is None or gate.mode_of(parsed[0]) == "public":
        return None
    return parsed[0]
