"""Feeds that others want to know about, looked at here: each in a process that ends with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog
from aiohttp import web

from headrace.clock import Clock
from headrace.http.checks import CHECK, OPEN_SECONDS, REQUEST_MAX_BYTES, SECONDS_MAX, CheckRequest, NotChecked
from headrace.http.proof import is_of_cluster
from headrace.registry.feed_uri import InvalidUri, parse_uri
from headrace.registry.sealing import SealError, Uri, Vault
from headrace.service.settings import IngressSettings
from headrace_ingress.check.child import Order, Problem

CHECKS_MAX: Final = 2
"""Most feeds that are looked at at once: each takes a process of some 80 MB, and a share of a core."""

FOUND_MAX_BYTES: Final = 1024 * 1024
"""Most that one may tell."""

log = structlog.get_logger(__name__)


class LocalChecks:
    """Looks at feeds on this machine.

    Args:
        networks: private networks that they may be in.
        roots: folders that files lie below.
    """

    def __init__(self, networks: Sequence[str], roots: Sequence[Path]) -> None:
        self._networks = tuple(networks)
        self._roots = tuple(map(str, roots))
        self._running = 0

    async def check(self, uri: Uri, seconds: float) -> bytes:
        """See `Checks`."""
        if self._running >= CHECKS_MAX:
            raise NotChecked(f"{CHECKS_MAX} feeds are looked at already; try again in a moment")
        self._running += 1
        try:
            return await self._run(uri, min(seconds, SECONDS_MAX))
        finally:
            self._running -= 1

    async def close(self) -> None:
        """Nothing is held: whoever asks is cancelled, and the process with it."""

    async def _run(self, uri: Uri, seconds: float) -> bytes:
        order = Order(uri.reveal(), seconds, self._networks, self._roots)
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        command = (sys.executable, "-m", "headrace_ingress.check.child")
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=nothing, limit=FOUND_MAX_BYTES
        )
        try:
            async with asyncio.timeout(seconds + OPEN_SECONDS):
                found, _ = await process.communicate(msgspec.json.encode(order) + b"\n")
        except TimeoutError:
            return _problem(uri, "it took too long: something in it hangs")
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0 or len(found) > FOUND_MAX_BYTES:
            log.warning("check_failed", source=_shown(uri), code=process.returncode)
            return _problem(uri, "looking at it ended the process that did: what it sends is broken, or too much")
        return found


def local_checks(group: IngressSettings) -> LocalChecks:
    """Return what looks at feeds as the settings allow."""
    return LocalChecks([str(network) for network in group.allow_networks], group.file_roots)


class CheckDoor:
    """Answers `POST /check` of processes of the same cluster.

    Args:
        checks: looks at feeds.
        secret: that the cluster shares; without one only this machine is answered.
        clock: its time.
    """

    def __init__(self, checks: LocalChecks, secret: str, clock: Clock) -> None:
        self._checks = checks
        self._secret = secret
        self._vault = Vault([secret])
        self._clock = clock

    def add_to(self, app: web.Application) -> None:
        """Add the route."""
        app.router.add_post(CHECK, self._check)

    async def _check(self, request: web.Request) -> web.Response:
        if (request.content_length or 0) > REQUEST_MAX_BYTES:
            raise web.HTTPRequestEntityTooLarge(REQUEST_MAX_BYTES, request.content_length or 0)
        body = await request.content.read(REQUEST_MAX_BYTES)
        if not is_of_cluster(request, self._secret, self._clock.utc(), body):
            raise web.HTTPForbidden(text="only processes of this cluster are answered")
        try:
            asked = msgspec.json.decode(body, type=CheckRequest)
            found = await self._checks.check(self._vault.open(asked.uri, CHECK), asked.seconds)
        except (msgspec.DecodeError, RecursionError, SealError) as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        except NotChecked as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None
        return web.Response(body=found, content_type="application/json")


def _problem(uri: Uri, sentence: str) -> bytes:
    return msgspec.json.encode(Problem(_shown(uri), sentence))


def _shown(uri: Uri) -> str:
    try:
        return str(parse_uri(uri.reveal(), trusted=False))
    except (InvalidUri, SealError):
        return ""
