"""Any time stamps at all, through what repairs them and through the packager.

Run by `feeds.py`. What comes out is a timeline without holes, in a bounded number of chunks, whatever came in.
"""

from __future__ import annotations

import random

from headrace.identifiers import Epoch
from headrace.media.packager import EpochStart, Packager, PackagerOptions, Sample, TimelineBroken
from headrace.wire.chunk import Chunk
from headrace.wire.stream import Track

TRACKS = (
    Track(track=1, kind="video", codec="avc1.64001f", timescale=90_000, header=b"x", frame_rate=25.0),
    Track(track=2, kind="audio", codec="mp4a.40.2", timescale=48_000, header=b"x", sample_rate=48_000, channels=2),
)
STEPS = (0, 1, -1, 3600, -3600, 45_000, -44_999, 90_000, 540_000, 2**31, 2**32, -(2**33), 2**62, -(2**62))


def timelines(chance: random.Random) -> None:
    """Samples at any times, until the packager has enough of them."""
    tracks = TRACKS[: 1 + int(chance.random() * 2)]
    packager = Packager(tracks, EpochStart(Epoch(1), 0, 0.0), PackagerOptions())
    times = [chance.randrange(-(2**40), 2**40)] * 2
    chunks: list[Chunk] = []
    try:
        for _ in range(60):
            which = int(chance.random() * len(tracks))
            step = (3600, 1024)[which]
            times[which] += chance.choice(STEPS) if chance.random() < 0.2 else step
            offset = chance.choice(STEPS) if chance.random() < 0.1 else 0
            duration = abs(chance.choice(STEPS)) if chance.random() < 0.1 else step
            captured = chance.choice((60_000_000, 2**50, 1_763_600_000_000_000))
            sample = Sample(
                which + 1, times[which] + offset, times[which], duration, chance.random() < 0.3, b"xy", captured
            )
            chunks += packager.push(sample)
    except TimelineBroken:
        pass
    chunks += packager.finish()
    ends: dict[int, int] = {}
    for chunk in chunks:
        if chunk.media:
            assert chunk.decode_time == ends.get(chunk.id.track, chunk.decode_time)
            ends[chunk.id.track] = chunk.decode_time + chunk.duration
