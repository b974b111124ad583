"""A load balancer that knows nothing: each request goes to any of the edges, chosen at random."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

HOP_HEADERS = {"connection", "transfer-encoding", "keep-alive", "host", "content-encoding", "content-length"}


@dataclass
class Balancer:
    """Passes requests on.

    Attributes:
        edges: base URLs of those to choose from; one that does not answer is passed over.
        served: requests answered by each.
        refused: answers of 400 and more, as `status path`.
    """

    edges: list[str]
    url: str = ""
    session: aiohttp.ClientSession | None = None
    served: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    _random: random.Random = field(default_factory=lambda: random.Random(1))

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Pass one request on, its answer as it comes."""
        assert self.session is not None
        for edge in self._random.sample(self.edges, len(self.edges)):
            try:
                answer = await self.session.get(f"{edge}{request.rel_url}", headers=_passed(request.headers))
            except aiohttp.ClientConnectionError:
                continue
            self.served[edge] = self.served.get(edge, 0) + 1
            if answer.status >= 400:
                self.refused.append(f"{answer.status} {request.rel_url}")
            return await self._pass(request, answer)
        return web.Response(status=502)

    async def _pass(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        async with answer:
            response = web.StreamResponse(status=answer.status, headers=_passed(answer.headers))
            await response.prepare(request)
            try:
                async for data in answer.content.iter_any():
                    await response.write(data)
            except aiohttp.ClientError:
                if request.transport is not None:
                    request.transport.abort()
                return response
            await response.write_eof()
            return response


def _passed(headers: object) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_HEADERS]  # type: ignore[attr-defined]


@asynccontextmanager
async def balancer(*edges: str) -> AsyncIterator[Balancer]:
    """Listen in front of `edges` for the length of the block."""
    made = Balancer(list(edges))
    app = web.Application()
    app.router.add_get("/{path:.*}", made.handle)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        made.session = session
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield made
        finally:
            await runner.cleanup()
