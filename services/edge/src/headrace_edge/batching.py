"""From entries to the bytes of one write, each frame and each batch made once for everybody who is due it."""

from __future__ import annotations

from collections.abc import Callable

from headrace.identifiers import ChunkId
from headrace.relay.broadcast import Entry, Gap, Opened, StateChange
from headrace.wire.chunk import Chunk
from headrace_edge.framing import Framing, Unframeable

FRAMES_MAX_BYTES = 2 * 1024 * 1024
"""Memory for frames kept for viewers that join or catch up: about the newest GOP. Older ones are framed again."""

FRAME_OVERHEAD_BYTES = 256
"""What a kept frame costs beside its bytes, roughly; so that empty ones are bounded too."""


class Batcher:
    """Frames entries and joins frames.

    Args:
        framing: makes frames of entries.
        on_unframeable: told of entries that it can make nothing of; they are left out.
    """

    def __init__(self, framing: Framing, on_unframeable: Callable[[Unframeable], None]) -> None:
        self._framing = framing
        self._on_unframeable = on_unframeable
        self._frames: dict[ChunkId, bytes] = {}
        self._held_bytes = 0
        self._joined: tuple[list[bytes], bytes] = ([], b"")

    def frame(self, entries: list[Entry], opened: Opened | None) -> tuple[list[bytes], Opened | None]:
        """Return the frames of `entries` for viewers that were told `opened` last, and what they were told then."""
        frames = []
        for entry in entries:
            try:
                frame = self._frame(entry, opened)
            except Unframeable as error:
                self._on_unframeable(error)
                frame = b""
            if frame:
                frames.append(frame)
            if isinstance(entry, Opened):
                opened = entry
        return frames, opened

    def join(self, frames: list[bytes]) -> bytes:
        """Return the frames as one object; viewers that are due the same frames get the same object."""
        if len(frames) < 2:
            return frames[0] if frames else b""
        if frames != self._joined[0]:
            self._joined = (frames, b"".join(frames))
        return self._joined[1]

    def _frame(self, entry: Entry, opened: Opened | None) -> bytes:
        if isinstance(entry, Chunk):
            assert opened is not None, "a broadcast tells an epoch before its first chunk"
            return self._chunk_frame(entry, opened)
        if isinstance(entry, Opened):
            return self._framing.opened(entry, opened)
        if isinstance(entry, Gap):
            return self._framing.gap(entry)
        assert isinstance(entry, StateChange)
        return self._framing.state(entry)

    def _chunk_frame(self, chunk: Chunk, opened: Opened) -> bytes:
        """Return the one frame object of `chunk`, made now unless it is still at hand."""
        frame = self._frames.get(chunk.id)
        if frame is None:
            frame = self._frames[chunk.id] = self._framing.chunk(chunk, opened)
            self._held_bytes += len(frame) + FRAME_OVERHEAD_BYTES
            while self._held_bytes > FRAMES_MAX_BYTES:
                oldest = self._frames.pop(next(iter(self._frames)))
                self._held_bytes -= len(oldest) + FRAME_OVERHEAD_BYTES
        return frame
