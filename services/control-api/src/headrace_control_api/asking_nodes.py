"""Asking nodes of the cluster over HTTP, with the proof that we are of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from headrace.clock import Clock
from headrace.http.proof import PROOF_HEADER, prove
from headrace.http.request_ids import onward
from headrace.registry.records import NodeRecord
from headrace.wire.stream import StreamState
from headrace_control_api.authorities import Authorities

ANSWER_SECONDS: Final = 3.0
"""How long a node may take to tell what it carries: it listens for most of a second first."""

NODES_MAX: Final = 256
"""Most nodes that are asked for one answer; what the others carry is told as their records say."""

AT_ONCE: Final = 64
"""Most questions to nodes at once."""

ANSWER_MAX_BYTES: Final = 4 * 1024 * 1024
"""Longest answer: ten thousand routes."""


class Routes(msgspec.Struct, frozen=True):
    """By which way streams come to a node: by stream the nodes, that one last."""

    node: str
    routes: dict[str, list[str]]


class Carried(msgspec.Struct, frozen=True):
    """What a node measured of a stream.

    Attributes:
        node: that node.
        state: how the stream is doing there.
        route: the nodes that it came through, that one last.
        bitrates: bits a second by track.
        age_seconds: how old chunks are when they get there; `None` when none came.
    """

    node: str
    state: StreamState
    route: list[str]
    bitrates: dict[int, int]
    age_seconds: float | None = None


class Nodes(Protocol):
    """Asks nodes."""

    async def routes(self, nodes: Iterable[NodeRecord]) -> Mapping[str, Mapping[str, list[str]]]:
        """Return by node and stream the route there, of the nodes that answer."""
        ...

    async def carried(self, stream: str, nodes: Iterable[NodeRecord]) -> list[Carried]:
        """Return what the nodes that answer measure of a stream, in the order of `nodes`."""
        ...

    async def close(self) -> None:
        """Let go."""
        ...


@dataclass(slots=True)
class HttpNodes:
    """Asks them at their relay URLs.

    Attributes:
        secret: proves to them that we are of the cluster.
        clock: dates the proof.
        authorities: what `https` nodes are verified with.
    """

    secret: str
    clock: Clock
    authorities: Authorities = field(default_factory=Authorities)
    _session: aiohttp.ClientSession | None = None

    async def routes(self, nodes: Iterable[NodeRecord]) -> Mapping[str, Mapping[str, list[str]]]:
        found = await self._ask_all(nodes, "/carried", Routes)
        return {answer.node: answer.routes for answer in found}

    async def carried(self, stream: str, nodes: Iterable[NodeRecord]) -> list[Carried]:
        return await self._ask_all(nodes, f"/carried/{quote(stream)}", Carried)

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask_all(self, nodes: Iterable[NodeRecord], path: str, kind: type[Any]) -> list[Any]:
        asked = [node for node in nodes if node.relay_url][:NODES_MAX]
        turns = asyncio.Semaphore(AT_ONCE)

        async def ask(node: NodeRecord) -> Any:
            async with turns:
                return await self._ask(node, path, kind)

        answers = await asyncio.gather(*map(ask, asked))
        return [answer for answer in answers if answer is not None]

    async def _ask(self, node: NodeRecord, path: str, kind: type[Any]) -> Any:
        """Return a node's answer, `None` when it gives none that can be used."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            connector = aiohttp.TCPConnector(limit=AT_ONCE)
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector)
        url = base_of(node).with_path(path, encoded=True)
        headers = {PROOF_HEADER: prove(self.secret, url.raw_path_qs, self.clock.utc()), **onward()}
        try:
            tls = self.authorities.now()
            async with self._session.get(url, headers=headers, allow_redirects=False, ssl=tls) as answer:
                said = await read_answer(answer, ANSWER_MAX_BYTES)
                if answer.status != 200 or said is None:
                    return None
                return msgspec.json.decode(said, type=kind, strict=False)
        except (aiohttp.ClientError, TimeoutError, OSError, msgspec.DecodeError, RecursionError):
            return None


def base_of(node: NodeRecord) -> URL:
    """Return where nodes reach a node by HTTP; its public URL may be known to browsers only."""
    url = URL(node.relay_url)
    return url.with_scheme("https" if url.scheme == "wss" else "http")


async def read_answer(answer: aiohttp.ClientResponse, most: int) -> bytes | None:
    """Return the body of an answer; `None`, and no more is read, when it is longer than `most`."""
    parts, length = [], 0
    async for part in answer.content.iter_any():
        length += len(part)
        if length > most:
            return None
        parts.append(part)
    return b"".join(parts)
