"""What a feed is and how well it comes, before anybody is asked to publish it: looked at by an ingress."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Final

import aiohttp
import msgspec
from pydantic import Field, ValidationError

from headrace.clock import Clock
from headrace.http.checks import CHECK, OPEN_SECONDS, SECONDS_MAX, CheckRequest, Checks, NotChecked
from headrace.http.operations import Api, Call, Model, Nothing
from headrace.http.problems import FieldError, Problem
from headrace.http.proof import PROOF_HEADER, prove, with_body
from headrace.http.request_ids import onward
from headrace.registry.records import NodeRecord
from headrace.registry.registry import Registry
from headrace.registry.sealing import SealError, Uri, Vault
from headrace_control_api.addresses import BadAddress, check_address
from headrace_control_api.asking_nodes import base_of, read_answer
from headrace_control_api.authorities import Authorities
from headrace_control_api.source_models import SourceText

NODES_MAX: Final = 3
"""Most ingress nodes that are asked, one after the other."""

ANSWER_MAX_BYTES: Final = 1024 * 1024


class CheckOrder(Model):
    """A feed that is to be looked at."""

    uri: SourceText = Field(description="Where it is, as a source has it.")
    seconds: Annotated[float, Field(ge=1, le=SECONDS_MAX)] = Field(default=5.0, description="How long to look.")


class CheckedTrack(Model):
    """What was seen of one track."""

    kind: str = Field(description="`video` or `audio`.")
    codec: str = Field(description="As `MediaSource.isTypeSupported` takes it, with profile and level.")
    width: int = 0
    height: int = 0
    sample_rate: int = 0
    channels: int = 0
    frames: int = Field(default=0, description="How many came.")
    frame_rate: float = Field(default=0.0, description="Frames a second, by their times.")
    is_steady: bool = Field(default=True, description="Whether frames are equally far apart.")
    bits_per_second: int = 0
    gop_seconds: float | None = Field(default=None, description="From keyframe to keyframe; absent if too few came.")
    gop_longest_seconds: float = 0.0
    reorders: bool = Field(default=False, description="Whether there are B-frames.")
    jitter_seconds: float = Field(default=0.0, description="How late packets come: the 95th percentile.")
    jumps: int = Field(default=0, description="How often its clock jumped.")


class CheckView(Model):
    """What was seen of a feed."""

    source: str = Field(description="Where, without credentials.")
    problem: str | None = Field(
        default=None, description="Why nothing was seen; absent when all that follows is there."
    )
    opened_seconds: float = Field(default=0.0, description="How long it took until its tracks were known.")
    seconds: float = Field(default=0.0, description="How long it was looked at.")
    tracks: list[CheckedTrack] = Field(default=[], description="Each track.")
    browsers: dict[str, str] = Field(
        default={}, description="By browser whether it plays it: `yes`, `no`, or on what it depends."
    )
    notes: list[str] = Field(default=[], description="What the source said besides.")
    advice: list[str] = Field(default=[], description="What to change at the source; nothing when all is well.")


def add_check(api: Api, registry: Registry, checks: Checks | None) -> None:
    """Add the operation."""

    @api.operation(
        "POST",
        "/check",
        tag="sources",
        scope="write",
        body=CheckOrder,
        answer=CheckView,
        problems={503: "No ingress can look at it now."},
    )
    async def check_feed(call: Call[Nothing, Nothing, CheckOrder]) -> CheckView:
        """Look at a feed without publishing it.

        An ingress connects to it, reads it for a while and tells tracks, codecs, frame rate, keyframes, bitrates, how
        late packets come, who plays it, and what to change at the source. What may be fetched is what a source may.
        """
        try:
            uri = check_address(call.body.uri, "source", registry.nodes.values())
        except BadAddress as error:
            raise Problem(400, str(error), errors=[FieldError("body.uri", str(error))]) from None
        if checks is None:
            raise Problem(503, "This control API has nobody who looks at feeds.")
        try:
            return CheckView.model_validate_json(await checks.check(uri, call.body.seconds))
        except NotChecked as error:
            raise Problem(503, f"{error}.", headers={"Retry-After": "5"}) from None
        except ValidationError:
            raise Problem(503, "An ingress answered what this version does not know.") from None


@dataclass(slots=True)
class IngressChecks:
    """Asks the ingress nodes of the cluster.

    Attributes:
        registry: where they are.
        secret: proves to them that we are of the cluster, and seals what they are told.
        clock: dates the proof.
        authorities: what `https` nodes are verified with.
    """

    registry: Registry
    secret: str
    clock: Clock
    authorities: Authorities = field(default_factory=Authorities)
    _session: aiohttp.ClientSession | None = None

    async def check(self, uri: Uri, seconds: float) -> bytes:
        """See `Checks`."""
        try:
            sealed = Vault([self.secret]).seal(uri, CHECK)
        except SealError as error:
            raise NotChecked(str(error)) from None
        body = msgspec.json.encode(CheckRequest(sealed, seconds))
        refusal = NotChecked("no ingress is there that could look at it")
        for node in rank_nodes(self.registry.nodes.values())[:NODES_MAX]:
            try:
                return await self._ask(node, body)
            except NotChecked as error:
                refusal = error
        raise refusal

    async def close(self) -> None:
        """See `Checks`."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _ask(self, node: NodeRecord, body: bytes) -> bytes:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=SECONDS_MAX + OPEN_SECONDS + 5, sock_connect=3)
            self._session = aiohttp.ClientSession(timeout=timeout)
        url = base_of(node).with_path(CHECK)
        headers = {PROOF_HEADER: prove(self.secret, with_body(url.raw_path_qs, body), self.clock.utc()), **onward()}
        try:
            tls = self.authorities.now()
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False, ssl=tls) as answer:
                said = await read_answer(answer, ANSWER_MAX_BYTES)
                if said is None:
                    raise NotChecked(f"ingress {node.node} says too much")
                if answer.status == 200:
                    return said
                raise NotChecked(f"ingress {node.node}: {said[:200].decode(errors='replace').strip() or answer.status}")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotChecked(f"ingress {node.node} cannot be asked: {type(error).__name__}") from None


def rank_nodes(nodes: Iterable[NodeRecord]) -> list[NodeRecord]:
    """Return the ingress nodes that can be asked, the least loaded first."""
    found = [node for node in nodes if node.role == "ingress" and node.relay_url and not node.draining]
    return sorted(found, key=lambda node: (node.load, node.node))
