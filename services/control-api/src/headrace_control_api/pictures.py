"""Pictures of streams: asked of an edge, which has the media; this process touches none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, Protocol

import aiohttp
from pydantic import Field

from headrace.clock import Clock
from headrace.http.operations import WHOLE, Query
from headrace.http.proof import PROOF_HEADER, prove
from headrace.http.request_ids import onward
from headrace.identifiers import StreamName
from headrace.registry.records import NodeRecord, StreamRecord
from headrace.registry.registry import Registry
from headrace_control_api.asking_nodes import base_of, read_answer
from headrace_control_api.authorities import Authorities

WIDTH_MIN: Final = 16
WIDTH_MAX: Final = 4096

ANSWER_SECONDS: Final = 8.0
"""How long an edge may take: it may have to fetch the stream first, and to wait for a picture."""

EDGES_MAX: Final = 3
"""Most edges that are asked, one after the other."""

PICTURE_MAX_BYTES: Final = 64 * 1024 * 1024
"""Largest picture that is taken from an edge: a PNG of 4096 pixels' width has some 20 MB."""

AT_ONCE: Final = 16
"""Most pictures that are asked for at once: they are held here whole."""

PictureFormat = Literal["jpeg", "png"]


class NoPicture(Exception):
    """There is no picture now.

    Attributes:
        status: 404 when there will be none, 503 when it may be asked for again.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class PictureQuery(Query):
    """Which picture."""

    format: PictureFormat = Field(default="jpeg", description="As what.")
    width: Annotated[int, Field(ge=WIDTH_MIN, le=WIDTH_MAX), WHOLE] | None = Field(
        default=None, description="Pixels, never more than the stream has; the height follows."
    )


class Pictures(Protocol):
    """Takes pictures of streams."""

    async def take(self, stream: StreamName, form: PictureFormat, width: int | None) -> bytes:
        """Return a picture of a stream, as it was at its newest random access point, not older than a second.

        Raises:
            NoPicture: when there is none.
        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...


@dataclass(slots=True)
class EdgePictures:
    """Asks the edges of the cluster.

    Attributes:
        registry: where they are.
        secret: proves to them that we are of the cluster.
        clock: dates the proof.
        authorities: what `https` edges are verified with.
    """

    registry: Registry
    secret: str
    clock: Clock
    authorities: Authorities = field(default_factory=Authorities)
    _session: aiohttp.ClientSession | None = None
    _asking: int = 0

    async def take(self, stream: StreamName, form: PictureFormat, width: int | None) -> bytes:
        if self._asking >= AT_ONCE:
            raise NoPicture(503, "Too many pictures are asked for; try again in a moment.")
        self._asking += 1
        try:
            return await self._take(stream, form, width)
        finally:
            self._asking -= 1

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _take(self, stream: StreamName, form: PictureFormat, width: int | None) -> bytes:
        refusal = NoPicture(503, "No edge is there that could take one.")
        for edge in rank_edges(self.registry.nodes.values(), stream)[:EDGES_MAX]:
            try:
                return await self._ask(edge, stream, form, width)
            except NoPicture as error:
                refusal = error
                if error.status == 404:
                    break
        raise refusal

    async def _ask(self, edge: NodeRecord, stream: StreamName, form: PictureFormat, width: int | None) -> bytes:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        query = {"format": form} | ({} if width is None else {"width": str(width)})
        url = base_of(edge).with_path(f"/still/{stream}").with_query(query)
        headers = {PROOF_HEADER: prove(self.secret, url.raw_path_qs, self.clock.utc()), **onward()}
        try:
            tls = self.authorities.now()
            async with self._session.get(url, headers=headers, allow_redirects=False, ssl=tls) as answer:
                body = await read_answer(answer, PICTURE_MAX_BYTES)
                if body is None:
                    raise NoPicture(503, "The picture is too large.")
                if answer.status == 200:
                    return body
                said = body[:200].decode(errors="replace").strip()
                raise NoPicture(404 if answer.status == 404 else 503, f"Edge {edge.node}: {said or answer.status}.")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = str(error) or "it did not answer in time"
            raise NoPicture(503, f"Edge {edge.node} cannot be asked: {reason[:200]}.") from None


def check_pictured(record: StreamRecord) -> None:
    """Check that there may be a picture of a stream.

    Raises:
        NoPicture: when nobody published it yet, or it has no video.
    """
    if not record.tracks:
        raise NoPicture(404, f"Nobody publishes {record.stream} yet.")
    if not any(track.kind == "video" for track in record.tracks):
        raise NoPicture(404, f"The stream {record.stream} has no video.")


def rank_edges(nodes: Iterable[NodeRecord], stream: StreamName) -> list[NodeRecord]:
    """Return the edges that may take a picture, those that carry the stream already first, then the least loaded."""
    found = [node for node in nodes if node.role == "edge" and node.relay_url and not node.draining]
    return sorted(found, key=lambda node: (stream not in node.streams, node.load, node.node))
