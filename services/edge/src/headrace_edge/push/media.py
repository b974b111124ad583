"""A push that is muxed anew: chunks go to a thread, which writes them to the target without encoding anything."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import structlog

from headrace.clock import Clock
from headrace.identifiers import StreamName
from headrace.registry.transfers import Flow
from headrace.relay.broadcast import Broadcast, Cursor, Opened, StateChange
from headrace.relay.hub import Hub, TooManyStreams
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from headrace_edge.push.carrying import PushFailed, PushOver, Tell
from headrace_edge.push.pacing import Begin, Conveyor

READ_BYTES: Final = 256 * 1024
"""How much is read from the broadcast at once."""

LAG_SECONDS: Final = 4.0
"""How far a slow target may fall behind before it is moved forward to a random access point."""

STOP_SECONDS: Final = 1.5
"""Longest wait for a thread to end by itself, and again after it was made to."""

LOOK_SECONDS: Final = 0.25
"""How often it is looked how the target does."""

log = structlog.get_logger(__name__)


class Target(Protocol):
    """Where media goes; made on the loop, used by one thread."""

    def write(self, conveyor: Conveyor) -> None:
        """Write what the conveyor brings until it brings nothing more.

        Raises:
            PushFailed: when the target was not reached, or takes no more.
        """

    def abort(self) -> None:
        """Have `write` end whatever it waits for; may be called by any thread."""


MakeTarget = Callable[[str | None], Target]
"""Makes a target; given the checked IP address of its host, `None` when it has none."""


class Writer:
    """A thread with a target."""

    def __init__(self, name: str, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self.conveyor = Conveyor(loop)
        self.ended: asyncio.Future[PushFailed | None] = loop.create_future()
        self._target = target
        self._loop = loop
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            PushFailed: when the system has no thread for it.
        """
        try:
            self._thread.start()
        except RuntimeError as error:
            raise PushFailed("limit", "the system lets this node start no more threads") from error

    async def stop(self) -> None:
        """Have it end, and wait a moment."""
        self.conveyor.stop()
        await asyncio.wait([self.ended], timeout=STOP_SECONDS)
        if not self.ended.done():
            self._target.abort()
            await asyncio.wait([self.ended], timeout=STOP_SECONDS)
        if not self.ended.done():
            log.warning("push_abandoned", seconds=STOP_SECONDS)

    def _run(self) -> None:
        failure: PushFailed | None = None
        try:
            self._target.write(self.conveyor)
        except PushFailed as error:
            failure = error
        except Exception:
            log.exception("push_writer_failed")
            failure = PushFailed("fault", "a fault in this program, see its log")
        with suppress(RuntimeError):  # the process ends, and nobody is left to tell
            self._loop.call_soon_threadsafe(self._end, failure)

    def _end(self, failure: PushFailed | None) -> None:
        if not self.ended.done():
            self.ended.set_result(failure)


class MediaPush:
    """Carries one stream to a target that takes samples.

    Args:
        name: of the stream here.
        hub: where it is.
        clock: of this process.
        address: returns the checked address of the target.
        make: makes the target.
    """

    def __init__(
        self,
        name: StreamName,
        hub: Hub,
        clock: Clock,
        address: Callable[[], Awaitable[str | None]],
        make: MakeTarget,
    ) -> None:
        self._name = name
        self._hub = hub
        self._clock = clock
        self._address = address
        self._make = make

    def leave(self, *, is_over: bool) -> None:
        """See `Carrier`."""

    async def run(self, tell: Tell) -> None:
        """See `Carrier`."""
        address = await self._address()
        try:
            demand = self._hub.demand(self._name)
        except TooManyStreams as error:
            raise PushFailed("limit", str(error)) from None
        try:
            await self._write(demand.broadcast, address, tell)
        finally:
            demand.release()

    async def _write(self, broadcast: Broadcast, address: str | None, tell: Tell) -> None:
        writer = Writer(f"push {self._name}", self._make(address), asyncio.get_running_loop())
        writer.start()
        feeding = asyncio.create_task(self._feed(broadcast, writer.conveyor, tell))
        try:
            both: set[asyncio.Future[Any]] = {feeding, writer.ended}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if writer.ended.done() and (failure := writer.ended.result()) is not None:
                raise failure
            if feeding.done():
                feeding.result()
            raise PushFailed("lost", "the target takes no more")
        finally:
            feeding.cancel()
            await asyncio.gather(feeding, return_exceptions=True)
            await writer.stop()

    async def _feed(self, broadcast: Broadcast, conveyor: Conveyor, tell: Tell) -> None:
        """Put what comes on the conveyor.

        Raises:
            PushOver: when the stream has ended.
        """
        changed = asyncio.Event()
        conveyor.on_taken = changed.set
        broadcast.listeners.add(changed.set)
        cursor = broadcast.join()
        try:
            while True:
                changed.clear()
                await self._make_room(broadcast, cursor, conveyor)
                for entry in broadcast.read(cursor, READ_BYTES):
                    self._put(entry, conveyor, tell)
                if conveyor.is_taken and broadcast.state.state is StreamState.LIVE:
                    tell(Flow.LIVE, "", {})
                if not broadcast.lag(cursor):
                    await changed.wait()
        finally:
            broadcast.listeners.discard(changed.set)

    async def _make_room(self, broadcast: Broadcast, cursor: Cursor, conveyor: Conveyor) -> None:
        """Wait for a slow target; what it cannot take any more is passed over."""
        if conveyor.has_room:
            return
        began = self._clock.monotonic()
        while not conveyor.has_room:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await conveyor.wait_room()
            except TimeoutError:
                pass
            if self._clock.monotonic() - began > LAG_SECONDS and (passed := broadcast.skip(cursor)):
                log.warning("push_skipped", stream=self._name, entries=passed)
                began = self._clock.monotonic()

    def _put(self, entry: object, conveyor: Conveyor, tell: Tell) -> None:
        match entry:
            case Opened():
                conveyor.put(Begin(entry.tracks))
            case Chunk() if entry.samples:
                conveyor.put(entry)
            case StateChange(state=StreamState.ENDED):
                raise PushOver("the stream has ended")
            case StateChange(state=StreamState.LIVE):
                pass  # it flows when the target takes it
            case StateChange():
                tell(Flow.WAITING, entry.reason, {})
