"""From what was asked for to what carries it out: one carrier for each kind of target."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from headrace.clock import Clock
from headrace.identifiers import InvalidName, StreamName, stream_name
from headrace.registry.desired import DesiredTransfer
from headrace.registry.sealing import SealError
from headrace.relay.hub import Hub
from headrace.session.border import Border, BorderError, Far, parse_far
from headrace.wire.stream import RouteHop
from headrace_edge.push.carrying import Carrier, PushFailed, Tell
from headrace_edge.push.file import FileTarget, recording_path
from headrace_edge.push.libav import LibavMuxer, libav_job
from headrace_edge.push.media import MediaPush, Target
from headrace_edge.push.muxed import MuxedTarget
from headrace_edge.push.relay import RelayPush
from headrace_edge.push.srt import srt_job

PORTS: Final = {"rtmp": 1935, "rtmps": 443, "rtsp": 554, "rtsps": 322}
"""Targets that libav speaks to, and their default ports."""

JOBS: Final = {**dict.fromkeys(PORTS, libav_job), "srt": srt_job}
"""What the muxer's process is told, by the scheme of the target."""


class NoCarrier:
    """Stands for a push that cannot be carried out here."""

    def __init__(self, failure: PushFailed) -> None:
        self._failure = failure

    def leave(self, *, is_over: bool) -> None:
        """Nothing was begun."""

    async def run(self, tell: Tell) -> None:
        """Fail."""
        raise self._failure


@dataclass(frozen=True, slots=True)
class Carriers:
    """Makes carriers.

    Attributes:
        border: how this process goes to other clusters.
        hub: where streams are.
        hop: this node.
        clock: of this process.
        record_root: the folder for recordings.
    """

    border: Border
    hub: Hub
    hop: RouteHop
    clock: Clock
    record_root: Path | None = None

    def make(self, record: DesiredTransfer) -> Carrier:
        """Return what carries `record` out."""
        try:
            return self._make(record, record.uri.reveal())
        except PushFailed as failure:
            return NoCarrier(failure)
        except SealError as error:
            return NoCarrier(PushFailed("sealed", str(error)))
        except ValueError as error:
            return NoCarrier(PushFailed("bad_address", str(error), is_final=True))

    def _make(self, record: DesiredTransfer, uri: str) -> Carrier:
        scheme = record.uri.scheme
        if scheme in {"ws", "wss", "headrace", "headraces"}:
            return self._relay(record, uri)
        if scheme == "file":
            path = recording_path(uri, self.record_root)
            return self._media(record, _nowhere, lambda address: FileTarget(path))
        if scheme in JOBS:
            job = JOBS[scheme]
            job(uri, None)  # refuses what can never be
            return self._media(record, self._checked(uri), lambda address: MuxedTarget(LibavMuxer(job(uri, address))))
        text = f"{scheme[:16]}: cannot be pushed to by this node"
        raise PushFailed("unsupported", text, is_final=True)

    def _relay(self, record: DesiredTransfer, uri: str) -> RelayPush:
        remote = record.remote_name
        far: Far | str
        if record.uri.scheme.startswith("headrace"):
            parts = urlsplit(uri)
            far = parts.netloc
            remote = unquote(parts.path.lstrip("/")) or remote
        else:
            far = replace(parse_far(uri), query="")
        border = replace(self.border, node=record.id)
        local = StreamName(record.local_name)
        return RelayPush(border, far, local, _name(remote), self.hub, self.hop, self.clock)

    def _media(
        self,
        record: DesiredTransfer,
        address: Callable[[], Awaitable[str | None]],
        make: Callable[[str | None], Target],
    ) -> MediaPush:
        return MediaPush(StreamName(record.local_name), self.hub, self.clock, address, make)

    def _checked(self, uri: str) -> Callable[[], Awaitable[str | None]]:
        parts = urlsplit(uri)
        if not parts.hostname:
            raise ValueError("the address has no host")
        far = Far(parts.scheme, parts.hostname, parts.port or PORTS.get(parts.scheme.lower(), 0))

        async def address() -> str | None:
            try:
                return await self.border.address(far)
            except BorderError as error:
                raise PushFailed(error.code, str(error), is_final=error.is_final) from None

        return address


async def _nowhere() -> str | None:
    return None


def _name(text: str) -> StreamName:
    try:
        return stream_name(text)
    except InvalidName as error:
        raise ValueError(f"the stream's name there: {error}") from None
