"""Reading back what was written for a viewer."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from headrace.wire import play
from headrace.wire.chunk import Chunk, parse_chunk
from headrace_edge.frames import CloseCode
from headrace_edge.sender import Hearer, SenderListener


def split_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield opcode and payload of each unmasked frame in `data`."""
    at = 0
    while at < len(data):
        opcode, size = data[at] & 0x0F, data[at + 1]
        at += 2
        if size == 126:
            size, at = struct.unpack_from(">H", data, at)[0], at + 2
        elif size == 127:
            size, at = struct.unpack_from(">Q", data, at)[0], at + 8
        yield opcode, data[at : at + size]
        at += size


def read_play(data: bytes) -> list[Chunk | play.EdgeMessage]:
    """Return what frames of headrace.play.v1 say."""
    said: list[Chunk | play.EdgeMessage] = []
    for opcode, payload in split_frames(data):
        if opcode == 2:
            said.append(parse_chunk(payload))
        else:
            message = play.decode_from_edge(payload)
            assert message is not None
            said.append(message)
    return said


class FakeSender:
    """A viewer's connection that takes everything, or nothing while `stuck`, and fails when `broken`.

    Attributes:
        writes: the objects that were written, whether they were taken or kept.
        finished: the close code it was finished with.
    """

    def __init__(self) -> None:
        self.listener: SenderListener | None = None
        self.hearer: Hearer | None = None
        self.send: Callable[[bytes], int] = self._send
        self.is_paused = False
        self.descriptor: int | None = None
        self.writes: list[bytes] = []
        self.stuck = self.broken = False
        self.finished: CloseCode | None = None
        self.aborted = False
        self._unsent = 0

    def _send(self, data: bytes) -> int:
        assert not self.is_paused, "nothing is sent past what is unsent"
        if self.stuck or self.broken:
            raise BlockingIOError if self.stuck else BrokenPipeError
        self.writes.append(data)
        return len(data)

    def keep(self, data: bytes, taken: int) -> None:
        self.writes.append(data[taken:])
        self._unsent += len(data) - taken
        if not self.is_paused:
            self.is_paused = True
            if self.listener is not None:
                self.listener.paused()

    def write(self, data: bytes) -> None:
        if self.stuck or self.is_paused:
            self.keep(data, 0)
        else:
            self._send(data)

    def drain(self, count: int = 2**62) -> None:
        """Let the viewer take so many of the unsent bytes."""
        self._unsent = max(0, self._unsent - count)
        if self.is_paused and not self._unsent:
            self.is_paused = False
            if self.listener is not None:
                self.listener.resumed()

    def unsent(self) -> int:
        return self._unsent

    def finish(self, code: CloseCode, reason: str = "") -> None:
        self.finished = code

    def close(self) -> None:
        self.aborted = True

    def abort(self) -> None:
        self.aborted = True

    @property
    def data(self) -> bytes:
        """Everything written."""
        return b"".join(self.writes)

    def play(self) -> list[Chunk | play.EdgeMessage]:
        """Everything written, as headrace.play.v1."""
        return read_play(self.data)

    def chunks(self) -> list[Chunk]:
        """The chunks among it."""
        return [said for said in self.play() if isinstance(said, Chunk)]
