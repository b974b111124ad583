"""The thread that owns libsrt's sockets: it accepts callers and takes what they send.

Theory of operation
-------------------
libsrt asks about a caller in a thread of its own, which waits for the loop's answer. A caller that is let in still has
to prove the passphrase; then this thread accepts it and hands over what comes, in one piece for each round of some
milliseconds. What the loop did not take yet is bounded: a caller whose pieces wait is not read, and libsrt drops what
is too late by then, as SRT does.

Only this thread and libsrt's own touch a socket. The loop is told by calls that it makes itself, and says what it wants
by flags that are looked at in every round; so nobody waits for anybody, but for that one answer.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Protocol

import structlog

from headrace.transport.libsrt import Handle, Libsrt, SrtError, State, hook_function

ROUND_MILLISECONDS: Final = 50
"""Longest wait for a socket: how late the thread sees what the loop wants."""

REST_SECONDS: Final = 0.01
"""Pause after a round in which something came. Being woken for each packet would cost more than all else; a viewer does
not see ten milliseconds."""

READ_MAX_BYTES: Final = 256 * 1024
"""Most that is taken of one caller in a round: 200 Mbit/s."""

WAITING_MAX_BYTES: Final = 1024 * 1024
"""Most of one caller that waits for the loop."""

READY_MAX: Final = 256
"""Most sockets that are told as ready at once; the others are, in the next round."""

BACKLOG: Final = 64
"""Callers that wait to be accepted, which happens within a round."""

ANSWER_SECONDS: Final = 1.0
"""How long a caller waits for the loop's answer; a loop that is busier than that lets nobody in."""

PROOF_SECONDS: Final = 3.0
"""How long a caller that was let in may take to prove the passphrase: its handshake is sent again for as long."""

STOP_SECONDS: Final = 5.0
"""How long the thread may take to end: it closes every socket first."""

OVERLOADED: Final = 1402
"""SRT_REJX_OVERLOAD, what is answered when the loop does not answer."""

_OVER: Final = frozenset({State.BROKEN, State.CLOSING, State.CLOSED, State.NONEXISTENT})

log = structlog.get_logger(__name__)


class Caller:
    """A connection whose handshake is done.

    Attributes:
        handle: its socket, for the thread alone.
        address: of its peer.
        streamid: as it was given.
        is_paused: set by the loop while it has no room for more.
        is_unwanted: set by the loop to have it closed.
    """

    def __init__(self, handle: Handle, address: str, streamid: str) -> None:
        self.handle = handle
        self.address = address
        self.streamid = streamid
        self.is_paused = False
        self.is_unwanted = False
        self._lock = threading.Lock()
        self._pieces: list[bytes] = []
        self._bytes = 0

    @property
    def has_room(self) -> bool:
        """Whether more may be read."""
        return not self.is_paused and self._bytes < WAITING_MAX_BYTES

    def put(self, data: bytes) -> bool:
        """Add what came; return whether nothing waited before."""
        with self._lock:
            self._pieces.append(data)
            self._bytes += len(data)
            return len(self._pieces) == 1

    def take(self) -> bytes:
        """Return all that waits."""
        with self._lock:
            pieces, self._pieces, self._bytes = self._pieces, [], 0
        return b"".join(pieces)


class Host(Protocol):
    """Who decides about callers; all is called on the loop."""

    def judge(self, address: str, streamid: str) -> int:
        """Return 0 to let a caller in, else libsrt's reason to refuse it."""
        ...

    def came(self, caller: Caller) -> None:
        """One that was let in has proved itself."""
        ...

    def sent(self, caller: Caller) -> None:
        """Something waits to be taken from it."""
        ...

    def went(self, caller: Caller) -> None:
        """It is gone; what it sent was told before."""
        ...

    def failed(self, address: str, streamid: str) -> None:
        """One that was let in has not proved the passphrase."""
        ...


@dataclass(frozen=True, slots=True)
class _Expected:
    handle: Handle
    address: str
    streamid: str
    until: float


class SrtListener:
    """Listens from `open` to `stop`.

    Args:
        library: loaded; it is stopped with this.
        host: decides.
    """

    def __init__(self, library: Libsrt, host: Host) -> None:
        self._library = library
        self._host = host
        self._loop = asyncio.get_running_loop()
        self._hook = hook_function(self._ask)
        self._listeners: list[Handle] = []
        self._callers: dict[Handle, Caller] = {}
        self._held: set[Caller] = set()
        self._let_in: deque[_Expected] = deque()
        self._expected: dict[Handle, _Expected] = {}
        self._stopping = threading.Event()
        self._ended: asyncio.Future[BaseException | None] = self._loop.create_future()
        self._thread = threading.Thread(target=self._run, name="srt", daemon=True)

    def open(self, addresses: Sequence[tuple[int, tuple[Any, ...]]], passphrase: str) -> int:
        """Listen at addresses, all with the first one's port where that is any free one; return the port.

        Raises:
            SrtError: when one cannot be had; `stop` is to be called even so.
        """
        port = 0
        for family, place in addresses:
            at = (place[0], place[1] or port, *place[2:])
            handle, port = self._library.listen(family, at, passphrase, BACKLOG, self._hook)
            self._listeners.append(handle)
        return port

    async def run(self) -> None:
        """Start the thread and wait until it has ended, which it does when `stop` asks it to.

        Raises:
            Exception: what it failed of.
        """
        self._thread.start()
        error = await asyncio.shield(self._ended)
        if error is not None:
            raise error

    async def stop(self) -> None:
        """Close every socket and end the thread."""
        self._stopping.set()
        if self._thread.ident is None:
            await asyncio.to_thread(self._clean_up)
        else:
            await asyncio.to_thread(self._thread.join, STOP_SECONDS)

    # -- libsrt's thread ------------------------------------------------------------------------------------------

    def _ask(self, handle: Handle, address: str, streamid: str) -> int:
        answer: Future[int] = Future()
        try:
            self._loop.call_soon_threadsafe(self._judge, answer, address, streamid)
            code = answer.result(ANSWER_SECONDS)
        except Exception:  # a loop that is closed or too busy, or a fault of ours: nobody is let in by accident
            code = OVERLOADED
        if code:
            self._library.set_reject_reason(handle, code)
            return -1
        self._let_in.append(_Expected(handle, address, streamid, time.monotonic() + PROOF_SECONDS))
        return 0

    def _judge(self, answer: Future[int], address: str, streamid: str) -> None:
        try:
            answer.set_result(self._host.judge(address, streamid))
        except Exception as error:
            answer.set_exception(error)
            raise

    # -- our thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        failure: BaseException | None = None
        try:
            poll = self._library.make_poll()
            for listener in self._listeners:
                self._library.watch(poll, listener)
            while not self._stopping.is_set():
                self._round(poll)
            self._library.release_poll(poll)
        except BaseException as error:
            failure = error
        self._clean_up()
        self._tell(self._end, failure)

    def _end(self, failure: BaseException | None) -> None:
        if not self._ended.done():
            self._ended.set_result(failure)

    def _clean_up(self) -> None:
        for handle in (*self._listeners, *self._callers):
            self._library.close(handle)
        self._library.clean_up()

    def _round(self, poll: int) -> None:
        came = False
        for handle in self._library.wait(poll, READY_MAX, ROUND_MILLISECONDS):
            if handle in self._listeners:
                self._accept(poll, handle)
            elif (caller := self._callers.get(handle)) is not None:
                came = True
                self._receive(poll, caller)
        self._obey(poll)
        self._look_at_expected()
        if came:
            time.sleep(REST_SECONDS)

    def _accept(self, poll: int, listener: Handle) -> None:
        while True:
            try:
                accepted = self._library.accept(listener)
                if accepted is None:
                    return
            except SrtError:
                return
            handle, address = accepted
            self._note_let_in()
            expected = self._expected.pop(handle, None)
            try:
                streamid = expected.streamid if expected else self._library.streamid(handle)
                self._library.watch(poll, handle)
            except SrtError:  # gone before it was accepted
                self._library.close(handle)
                continue
            caller = self._callers[handle] = Caller(handle, address, streamid)
            self._tell(self._host.came, caller)

    def _receive(self, poll: int, caller: Caller) -> None:
        pieces, size, over = [], 0, False
        try:
            while size < READ_MAX_BYTES and (data := self._library.receive(caller.handle)):
                pieces.append(data)
                size += len(data)
        except SrtError:
            over = True
        if pieces and caller.put(b"".join(pieces)):
            self._tell(self._host.sent, caller)
        if over:
            self._close(poll, caller)
        elif not caller.has_room:
            self._library.unwatch(poll, caller.handle)
            self._held.add(caller)

    def _obey(self, poll: int) -> None:
        """Do what the loop wants."""
        for caller in tuple(self._callers.values()):
            if caller.is_unwanted:
                self._close(poll, caller)
        for caller in tuple(self._held):
            if caller.has_room:
                self._held.discard(caller)
                try:
                    self._library.watch(poll, caller.handle)
                except SrtError:
                    self._close(poll, caller)

    def _close(self, poll: int, caller: Caller) -> None:
        self._library.unwatch(poll, caller.handle)
        self._library.close(caller.handle)
        del self._callers[caller.handle]
        self._held.discard(caller)
        self._tell(self._host.went, caller)

    def _note_let_in(self) -> None:
        while self._let_in:
            expected = self._let_in.popleft()
            self._expected[expected.handle] = expected

    def _look_at_expected(self) -> None:
        self._note_let_in()
        now = time.monotonic()
        for expected in tuple(self._expected.values()):
            if now > expected.until or self._library.state(expected.handle) in _OVER:
                del self._expected[expected.handle]
                self._tell(self._host.failed, expected.address, expected.streamid)

    def _tell(self, call: Callable[..., None], *arguments: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: the process ends
            self._stopping.set()
