"""What a feed tells the registry of its stream; numbers that no record may hold silence the telling, not the feed."""

from __future__ import annotations

import structlog

from headrace.registry.records import InvalidRecord, StreamRecord, TrackSummary
from headrace.registry.registry import Registry
from headrace.wire.stream import Track

log = structlog.get_logger(__name__)


class Announced:
    """The record of one stream.

    Attributes:
        problem: why the registry does not know how the stream stands; `None` while it does.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.problem: str | None = None

    def keep(self, record: StreamRecord) -> None:
        """Have the registry keep `record`; that it cannot is told once, until it can again."""
        try:
            self._registry.keep_stream(record)
        except InvalidRecord as error:
            if self.problem is None:
                log.error("stream_not_announced", stream=record.stream, reason=str(error))
            self.problem = f"stream {record.stream} is not announced: {error}"
        else:
            self.problem = None


def summary(track: Track) -> TrackSummary:
    """Return what lists of streams tell of a track."""
    return TrackSummary(
        track=track.track,
        kind=track.kind,
        codec=track.codec,
        width=track.width,
        height=track.height,
        frame_rate=track.frame_rate,
        sample_rate=track.sample_rate,
        channels=track.channels,
        bandwidth=track.bandwidth,
        language=track.language,
    )
