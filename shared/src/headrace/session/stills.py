"""Pictures of streams: the newest chunk that decoding can begin with, decoded in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from headrace.clock import Clock
from headrace.identifiers import StreamName
from headrace.media.still import NoPicture, StillFormat, make_still
from headrace.relay.broadcast import Broadcast
from headrace.relay.hub import Hub, TooManyStreams
from headrace.wire.chunk import Chunk

AT_ONCE: Final = 2
"""Most pictures decoded at once: each takes a core for some tens of milliseconds, which viewers' bytes want too."""

WAITING_MAX: Final = 64
"""Most pictures asked for at once, the same one by many counted once."""

CACHE_SECONDS: Final = 1.0
"""How long a picture is given again: a wall of cameras asks for each a few times a second."""

PATIENCE_SECONDS: Final = 5.0
"""How long a stream that is not carried here may take to arrive."""


class NoStill(Exception):
    """There is no picture now.

    Attributes:
        busy: whether it may be asked for again soon.
    """

    def __init__(self, reason: str, *, busy: bool = False) -> None:
        super().__init__(reason)
        self.busy = busy


@dataclass(frozen=True, slots=True)
class StillRequest:
    """Which picture.

    Attributes:
        stream: of what.
        form: as what.
        width: in pixels; as it is when absent.
    """

    stream: StreamName
    form: StillFormat
    width: int | None = None


class Stills:
    """The pictures of one process's streams."""

    def __init__(self, hub: Hub, clock: Clock) -> None:
        self._hub = hub
        self._clock = clock
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._made: dict[StillRequest, tuple[float, asyncio.Task[bytes]]] = {}

    async def take(self, wanted: StillRequest) -> bytes:
        """Return the picture, at most `CACHE_SECONDS` after it was made.

        Raises:
            NoStill: when there is none, with the reason.
        """
        now = self._clock.monotonic()
        self._made = {key: (at, task) for key, (at, task) in self._made.items() if _is_fresh(at, task, now)}
        known = self._made.get(wanted)
        if known is None:
            if len(self._made) >= WAITING_MAX:
                raise NoStill("too many pictures are asked for; try again in a moment", busy=True)
            known = self._made[wanted] = (now, asyncio.create_task(self._make(wanted), name="still"))
        return await asyncio.shield(known[1])

    async def close(self) -> None:
        """Stop what is being made."""
        tasks = [task for _, task in self._made.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, wanted: StillRequest) -> bytes:
        try:
            demand = self._hub.demand(wanted.stream)
        except TooManyStreams as error:
            raise NoStill(str(error), busy=True) from None
        try:
            header, media = await self._first_picture(demand.broadcast)
        finally:
            demand.release()
        async with self._turns:
            try:
                return await asyncio.to_thread(make_still, header, media, wanted.form, wanted.width)
            except NoPicture as error:
                raise NoStill(f"there is no picture of {wanted.stream}: {error}") from None

    async def _first_picture(self, broadcast: Broadcast) -> tuple[bytes, bytes]:
        changed = asyncio.Event()
        listener: Callable[[], None] = changed.set
        broadcast.listeners.add(listener)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (found := newest_picture(broadcast)) is None:
                    changed.clear()
                    await changed.wait()
            return found
        except TimeoutError:
            raise NoStill(f"{broadcast.name} has no picture yet", busy=True) from None
        finally:
            broadcast.listeners.discard(listener)


def newest_picture(broadcast: Broadcast) -> tuple[bytes, bytes] | None:
    """Return header and media of the newest chunk that a picture can be made of, `None` while there is none.

    Raises:
        NoStill: when the stream has no video.
    """
    videos = [number for number, track in broadcast.tracks.items() if track.kind == "video"]
    if broadcast.tracks and not videos:
        raise NoStill(f"{broadcast.name} has no video")
    found: Chunk | None = None
    for entry in broadcast.read(broadcast.join()):
        if (
            isinstance(entry, Chunk)
            and entry.random_access
            and entry.id.track in videos
            and entry.id.epoch == broadcast.epoch
        ):
            found = entry
    return None if found is None else (broadcast.tracks[found.id.track].header, bytes(found.media))


def _is_fresh(at: float, task: asyncio.Task[bytes], now: float) -> bool:
    if not task.done():
        return True
    return now - at < CACHE_SECONDS and not task.cancelled() and task.exception() is None
