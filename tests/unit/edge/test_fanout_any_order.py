"""The fan-out's promises under anything that producers and viewers may do, in any order."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from headrace.identifiers import StreamName
from headrace.relay.broadcast import Broadcast, RingLimits
from headrace.testing import FakeClock
from headrace.wire import play
from headrace.wire.chunk import Chunk
from headrace_edge.fanout import BATCH_MAX_BYTES, FanOut, FanOutLimits
from headrace_edge.framing import PlayFraming
from headrace_edge.metrics import edge_metrics
from headrace_edge.viewer import Viewer
from unit.edge.reading import FakeSender
from unit.edge.synthetic import AUDIO, OTHER_VIDEO, VIDEO, Feed

CHUNK_BYTES = 40_000


class Watcher:
    """One viewer, and what it had before it came."""

    def __init__(self, fan_out: FanOut, had: dict[int, Chunk] | None) -> None:
        self.sender = FakeSender()
        self.had = dict(had or {})
        after = None if had is None else {track: chunk.id for track, chunk in had.items()}
        self.viewer: Viewer = fan_out.add(self.sender, after)

    def check(self) -> dict[int, Chunk]:
        """Check all that was written and return the last chunk of each track."""
        last = dict(self.had)
        gaps: dict[int, tuple[int, int, int]] = {}
        told = 0
        for said in self.sender.play():
            if isinstance(said, play.Tracks):
                assert said.epoch > told, "each epoch is told once, in order"
                told = said.epoch
            elif isinstance(said, play.GapNotice):
                gaps[said.track] = said.next
            elif isinstance(said, Chunk):
                assert said.id.epoch == told, "the tracks of an epoch come before its chunks"
                self._check_order(last.get(said.id.track), said, gaps)
                last[said.id.track] = said
        return last

    def _check_order(self, before: Chunk | None, chunk: Chunk, gaps: dict[int, tuple[int, int, int]]) -> None:
        if before is None:
            return
        assert chunk.id.position > before.id.position, "in order, and each once"
        follows = before.is_followed_by(chunk.id)
        begins = chunk.id.epoch > before.id.epoch and chunk.id.chunk == 0
        assert follows or begins or gaps.get(chunk.id.track) == chunk.id.position, "what is missing was told"


class Stage:
    """A fan-out, its producer and its viewers; each method is something that one of them does.

    `choice` is any number: whom it concerns, or how much.
    """

    def __init__(self, ring: RingLimits, lag_bytes: int) -> None:
        self.due: list[Callable[[], None]] = []
        self.broadcast = Broadcast(StreamName("demo"), ring)
        self.fan_out = FanOut(
            self.broadcast,
            PlayFraming(),
            FanOutLimits(lag_bytes=lag_bytes),
            edge_metrics(CollectorRegistry()).output("play"),
            FakeClock(),
            self.due.append,
        )
        self.feed: Feed | None = None
        self.watchers: list[Watcher] = []

    def push(self, choice: int) -> None:
        if self.feed is None:
            self.feed = Feed(self.broadcast, chunk_bytes=CHUNK_BYTES)
        self.feed.push(1 + choice % 8)

    def flow(self, choice: int) -> None:
        """Chunks come and leave one by one."""
        for _ in range(choice % 40):
            self.push(0)
            self.turn(0)

    def begin_epoch(self, choice: int) -> None:
        if self.feed is not None:
            self.feed.interrupt()
            self.feed.open(OTHER_VIDEO if choice % 2 else VIDEO, AUDIO)

    def lose(self, choice: int) -> None:
        """Chunks get lost before they reach this edge."""
        if self.feed is not None:
            broadcast, self.feed.broadcast = self.feed.broadcast, Broadcast(StreamName("nowhere"))
            self.feed.push(1 + choice % 25)
            self.feed.broadcast = broadcast

    def join(self, choice: int) -> None:
        if len(self.watchers) < 8:
            self.watchers.append(Watcher(self.fan_out, None))

    def come_back(self, choice: int) -> None:
        """A viewer's connection ends; it comes back with what it had."""
        if self.watchers:
            watcher = self.watchers.pop(choice % len(self.watchers))
            self.fan_out.remove(watcher.viewer)
            had = watcher.check()
            self.watchers.append(Watcher(self.fan_out, had or None))

    def block(self, choice: int) -> None:
        if self.watchers:
            self.watchers[choice % len(self.watchers)].sender.stuck = True

    def read_some(self, choice: int) -> None:
        if self.watchers:
            self.watchers[choice % len(self.watchers)].sender.drain(choice * 16)

    def unblock(self, choice: int) -> None:
        if self.watchers:
            sender = self.watchers[choice % len(self.watchers)].sender
            sender.stuck = False
            sender.drain()

    def turn(self, choice: int) -> None:
        due = self.due[:]
        self.due.clear()
        for run in due:
            run()

    def rest(self) -> None:
        """Nothing comes until there is nothing to do."""
        while self.due:
            self.turn(0)

    def check_memory(self) -> None:
        """What waits for a viewer never exceeds its share."""
        for watcher in self.watchers:
            assert watcher.sender.unsent() <= BATCH_MAX_BYTES + CHUNK_BYTES + 5000

    def finish(self) -> None:
        """Everybody reads to the end, and has everything up to the newest chunk or knows what it missed."""
        for watcher in self.watchers:
            watcher.sender.stuck = False
            watcher.sender.drain()
        self.push(2)
        assert self.feed is not None
        self.rest()
        self.feed.open()
        for _ in range(3):  # no chunk before all have the one before: the smallest ring holds three of each track
            self.push(0)
            self.rest()
        newest = {chunk.id.track: chunk.id for chunk in self.feed.sent}
        for watcher in self.watchers:
            assert {track: chunk.id for track, chunk in watcher.check().items()} == newest
        assert self.fan_out.places() == {"live": len(self.watchers), "joining": 0, "paused": 0}


DEEDS = [
    *[Stage.push, Stage.flow, Stage.turn] * 3,
    *[Stage.join, Stage.block, Stage.unblock, Stage.read_some, Stage.come_back] * 2,
    Stage.begin_epoch,
    Stage.lose,
]


@settings(max_examples=150, deadline=None)
@given(
    ring=st.sampled_from([RingLimits(0.5), RingLimits(3.0), RingLimits(30.0), RingLimits(30.0, 6 * CHUNK_BYTES)]),
    lag_bytes=st.sampled_from([100_000, 4_000_000]),
    deeds=st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 2**16)), min_size=10, max_size=60),
)
def test_nothing_is_lost_in_silence(
    ring: RingLimits, lag_bytes: int, deeds: list[tuple[Callable[[Stage, int], None], int]]
) -> None:
    """Whatever happens, viewers get chunks in order and once, know what they missed, and end up at live."""
    stage = Stage(ring, lag_bytes)
    for deed, choice in deeds:
        deed(stage, choice)
        stage.check_memory()
    stage.finish()
