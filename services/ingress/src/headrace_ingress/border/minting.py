"""The border between clusters: identities are minted anew, media stays as it is. Pure.

A publication here begins with the first random access point that came from there. Its segments go on from the numbers
that the stream has here, its first chunk of each track is chunk 0 of its segment, and what is missing there is missing
here. Timelines are UTC everywhere, so decode times stay; what is older than what the stream had here is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from headrace.identifiers import ChunkId, Epoch
from headrace.registry.records import SECONDS_MAX, SEGMENT_MAX
from headrace.wire.chunk import Chunk, make_chunk
from headrace.wire.stream import Track
from headrace_ingress.events import Chunks, EpochOpened, Event, Numbers

HELD_MAX = 64
"""Most chunks that are held until the leading track's random access point comes: what arrives within a few seconds."""


@dataclass(slots=True)
class _Publication:
    """One epoch there, and what it is here.

    Attributes:
        far: the epoch there.
        tracks: its tracks.
        lead: the track that decides where it begins.
        near: the epoch here; `None` until it has begun.
        shift: segment numbers here less those there.
        first: segment and chunk, and part, that each track began with there.
    """

    far: Epoch
    tracks: dict[int, Track]
    lead: int
    near: Epoch | None = None
    shift: int = 0
    first: dict[int, tuple[int, int, int]] = field(default_factory=dict)


class Mint:
    """Mints the chunks of a stream of another cluster anew.

    Args:
        numbers: where the stream's numbers stand here.
        utc: tells the time of new epochs, in seconds.
    """

    def __init__(self, numbers: Numbers, utc: Callable[[], float]) -> None:
        self.numbers = numbers
        self._utc = utc
        self._publication: _Publication | None = None
        self._held: list[Chunk] = []
        self._last: dict[int, ChunkId] = {}

    @property
    def had(self) -> dict[int, ChunkId]:
        """The last chunk of each track by the identity that it has there, to go on after."""
        return self._last

    def open(self, epoch: Epoch, tracks: tuple[Track, ...]) -> None:
        """An epoch begins there; the one that is there already goes on."""
        if self._publication is not None and epoch <= self._publication.far:
            return
        videos = [track.track for track in tracks if track.kind == "video"]
        lead = min(videos or [track.track for track in tracks])
        self._publication = _Publication(epoch, {track.track: track for track in tracks}, lead)
        self._held, self._last = [], {}

    def take(self, chunk: Chunk) -> list[Event]:
        """Return what a chunk from there becomes here."""
        publication = self._publication
        if publication is None or chunk.id.epoch != publication.far or chunk.id.track not in publication.tracks:
            return []
        if publication.near is not None:
            return self._chunks([chunk]) if self._is_next(chunk, publication) else []
        if chunk.id.track != publication.lead or not self._may_begin(chunk, publication):
            self._held = [*self._held, chunk][-HELD_MAX:]
            return []
        held, self._held = self._held, []
        together = _together(held, chunk, publication.tracks)
        return [self._begin(publication, chunk), *self._chunks([*together, chunk])]

    def _is_next(self, chunk: Chunk, publication: _Publication) -> bool:
        """Return whether a chunk goes on from what came: nothing is had twice, and no number runs backwards or away."""
        last, earliest = self._last.get(chunk.id.track), publication.first[publication.lead][0]
        if chunk.id.segment < earliest or (last is not None and chunk.id.position <= last.position):
            return False
        seconds = (chunk.decode_time + chunk.duration) / publication.tracks[chunk.id.track].timescale
        return chunk.id.segment + publication.shift < SEGMENT_MAX and seconds <= SECONDS_MAX

    def _may_begin(self, chunk: Chunk, publication: _Publication) -> bool:
        seconds = chunk.decode_time / publication.tracks[chunk.id.track].timescale
        return chunk.random_access and chunk.samples > 0 and self.numbers.end_seconds <= seconds <= SECONDS_MAX

    def _begin(self, publication: _Publication, chunk: Chunk) -> Event:
        began = chunk.decode_time / publication.tracks[chunk.id.track].timescale
        start, epochs = self.numbers.begin(self._utc(), began), self.numbers.epochs
        publication.near, publication.shift = start.epoch, start.segment - chunk.id.segment
        self.numbers = Numbers(start.epoch, start.segment, start.earliest_seconds, epochs + 1)
        tracks = publication.tracks.values()
        declared = tuple(msgspec.structs.replace(track, discontinuity=epochs) for track in tracks)
        return EpochOpened(start.epoch, declared)

    def _chunks(self, chunks: list[Chunk]) -> list[Event]:
        minted = tuple(self._mint(chunk) for chunk in chunks)
        return [Chunks(minted, self.numbers)]

    def _mint(self, chunk: Chunk) -> Chunk:
        publication = self._publication
        assert publication is not None
        assert publication.near is not None
        track = chunk.id.track
        self._last[track] = chunk.id
        segment, number, part = publication.first.setdefault(track, (chunk.id.segment, chunk.id.chunk, chunk.part))
        if segment != chunk.id.segment:
            number = part = 0
        near = ChunkId(publication.near, track, chunk.id.segment + publication.shift, chunk.id.chunk - number)
        end = (chunk.decode_time + chunk.duration) / publication.tracks[track].timescale
        self.numbers = Numbers(
            self.numbers.epoch,
            max(self.numbers.next_segment, near.segment + 1),
            max(self.numbers.end_seconds, end),
            self.numbers.epochs,
        )
        return make_chunk(
            near,
            chunk.flags,
            chunk.decode_time,
            chunk.duration,
            max(0, chunk.part - part),
            chunk.samples,
            chunk.capture_us,
            bytes(chunk.media),
        )


def _together(held: list[Chunk], first: Chunk, tracks: dict[int, Track]) -> list[Chunk]:
    """Return those of `held` that still sound when the first chunk of the leading track shows."""
    begin = first.decode_time / tracks[first.id.track].timescale
    return [
        chunk
        for chunk in held
        if chunk.id.track != first.id.track
        and chunk.id.segment >= first.id.segment
        and (chunk.decode_time + chunk.duration) / tracks[chunk.id.track].timescale > begin
    ]
