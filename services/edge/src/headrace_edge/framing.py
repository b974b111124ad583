"""What viewers of one kind receive: entries of a broadcast in, WebSocket frames out. Pure.

A framing keeps nothing between calls, so one serves any number of streams and the frames it returns any number of
viewers.
"""

from __future__ import annotations

from typing import Protocol

from headrace.media.boxes import BoxError, combine_headers, strip_prft
from headrace.relay.broadcast import Gap, Opened, StateChange
from headrace.wire import play
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track
from headrace_edge.frames import Opcode, frame


class Unframeable(Exception):
    """An entry whose boxes cannot be read: whoever made the stream is at fault, and this output goes without it."""


class Framing(Protocol):
    """How the entries of a broadcast are told to viewers; empty bytes stand for nothing to send.

    `opened` and `chunk` raise `Unframeable` for what they can make nothing of.

    Attributes:
        door: the name of the door in metrics and log lines.
        closes_when_ended: whether viewers are let go once the stream has ended, or stay for its return.
    """

    @property
    def door(self) -> str: ...
    @property
    def closes_when_ended(self) -> bool: ...
    def opened(self, opened: Opened, before: Opened | None) -> bytes:
        """Return what precedes the first chunk of an epoch, for viewers that were told `before` last."""
        ...

    def chunk(self, chunk: Chunk, opened: Opened) -> bytes:
        """Return what carries `chunk`, of the epoch that `opened` began."""
        ...

    def gap(self, gap: Gap) -> bytes: ...
    def state(self, change: StateChange) -> bytes: ...
    def skipped(self, entries: int) -> bytes:
        """Return what tells a viewer that it was too slow and moved forward past `entries` entries."""
        ...


def message_frame(message: play.EdgeMessage) -> bytes:
    """Return the text frame that carries `message` to a player."""
    return frame(Opcode.TEXT, play.encode(message))


class PlayFraming:
    """headrace.play.v1: chunk records as they are, everything else as JSON (docs/protocol.md, section 3)."""

    door = "play"
    closes_when_ended = True

    def opened(self, opened: Opened, before: Opened | None) -> bytes:
        if before is not None and before.epoch == opened.epoch:
            return b""  # other rates: nothing that players choose by, and some would begin anew
        return message_frame(play.Tracks(epoch=opened.epoch, tracks=opened.tracks))

    def chunk(self, chunk: Chunk, opened: Opened) -> bytes:
        return frame(Opcode.BINARY, chunk.record)

    def gap(self, gap: Gap) -> bytes:
        return message_frame(play.GapNotice(track=gap.next.track, next=gap.next.position))

    def state(self, change: StateChange) -> bytes:
        reason = change.reason[: play.REASON_MAX_CHARACTERS]
        return message_frame(play.State(state=change.state, reason=reason, route=change.route))

    def skipped(self, entries: int) -> bytes:
        return message_frame(play.Skipped(entries=entries))


class PlainFraming:
    """Plain fMP4 for everybody's players: one ftyp+moov of all tracks, then one moof+mdat a message.

    Players of this kind take a second header as a new beginning, so an epoch with the same headers sends none: its
    decode times go on after the last one's. Data tracks are left out, for players would not know them.
    """

    door = "fmp4"
    closes_when_ended = False

    def opened(self, opened: Opened, before: Opened | None) -> bytes:
        headers = _headers(opened)
        if not headers or (before is not None and headers == _headers(before)):
            return b""
        try:
            return frame(Opcode.BINARY, combine_headers(headers))
        except BoxError as error:
            raise Unframeable(f"headers of epoch {opened.epoch}: {error}") from error

    def chunk(self, chunk: Chunk, opened: Opened) -> bytes:
        if not chunk.samples or not any(t.track == chunk.id.track and _shown(t) for t in opened.tracks):
            return b""
        try:
            return frame(Opcode.BINARY, strip_prft(chunk.media))
        except BoxError as error:
            raise Unframeable(f"chunk {chunk.id}: {error}") from error

    def gap(self, gap: Gap) -> bytes:
        return b""

    def state(self, change: StateChange) -> bytes:
        return b""

    def skipped(self, entries: int) -> bytes:
        return b""


def _shown(track: Track) -> bool:
    return track.kind != "data"


def _headers(opened: Opened) -> list[bytes]:
    return [track.header for track in sorted(opened.tracks, key=lambda track: track.track) if _shown(track)]
