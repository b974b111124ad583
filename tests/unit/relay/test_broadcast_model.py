"""Several cursors with random reads against a plain list of everything that was ever appended."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from headrace.identifiers import ChunkId, Epoch, StreamName
from headrace.relay.broadcast import ENTRY_BYTES, Broadcast, Cursor, Entry, Gap, Opened, RingLimits, StateChange
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from unit.relay.streams import AUDIO, PER_SEGMENT, VIDEO, audio, chunk, video

LIMITS = RingLimits(seconds=2.0, bytes=24 * (ENTRY_BYTES + 148))


@dataclass(eq=False)
class Reader:
    """A cursor and what its owner knows."""

    cursor: Cursor
    had: dict[int, ChunkId] = field(default_factory=dict)
    expects: dict[int, ChunkId] = field(default_factory=dict)
    epoch: int = 0
    resumed: bool = False
    joined: bool = False
    state: StateChange | None = None
    index: int = -1


class BroadcastModel(RuleBasedStateMachine):
    """The rules produce and consume; every entry that a reader gets is checked against the list."""

    readers = Bundle("readers")

    @initialize()
    def begin(self) -> None:
        self.broadcast = Broadcast(StreamName("demo"), LIMITS)
        self.epoch = 0
        self.numbers = {1: 0, 2: 0}
        self.accepted: list[Chunk] = []
        self.position: dict[ChunkId, int] = {}
        self.told: set[ChunkId] = set()
        self.all_readers: list[Reader] = []
        self.open_epoch()

    # -- producing ---------------------------------------------------------------------------------

    @rule()
    def open_epoch(self) -> None:
        self.epoch += 1
        assert self.broadcast.open(Epoch(self.epoch), (VIDEO, AUDIO))
        self.numbers = {1: 0, 2: 0}

    @rule(track=st.sampled_from([1, 2]), hole=st.sampled_from([0, 0, 0, 0, 1, 5]), count=st.integers(1, 6))
    def produce(self, track: int, hole: int, count: int) -> None:
        self.numbers[track] += hole
        for _ in range(count):
            item = chunk(track, self.numbers[track], self.epoch)
            self.numbers[track] += 1
            self.position[item.id] = len(self.accepted)
            self.accepted.append(item)
            assert self.broadcast.append(item)

    @rule(track=st.sampled_from([1, 2]), back=st.integers(1, 8))
    def produce_again(self, track: int, back: int) -> None:
        if self.numbers[track] >= back:
            assert not self.broadcast.append(chunk(track, self.numbers[track] - back, self.epoch))

    @rule(track=st.sampled_from([1, 2]), ahead=st.integers(-3, 5))
    def lose(self, track: int, ahead: int) -> None:
        number = max(0, self.numbers[track] + ahead)
        self.told.add(chunk(track, number, self.epoch).id)
        self.broadcast.lose(Gap(chunk(track, number, self.epoch).id))
        if ahead > 0:
            self.numbers[track] = number

    @rule(state=st.sampled_from(StreamState), reason=st.sampled_from("ab"))
    def change_state(self, state: StreamState, reason: str) -> None:
        self.broadcast.set_state(state, reason)

    # -- consuming ---------------------------------------------------------------------------------

    @rule(target=readers)
    def join(self) -> object:
        return self._add(Reader(self.broadcast.join(), joined=True))

    @rule(target=readers, numbers=st.tuples(st.integers(-1, 30), st.integers(-1, 30)), old=st.booleans())
    def resume(self, numbers: tuple[int, int], old: bool) -> object:
        epoch = max(1, self.epoch - old)
        after = {c.id.track: c.id for c in (video(numbers[0], epoch), audio(numbers[1], epoch)) if c.decode_time >= 0}
        after = {track: id for track, id in after.items() if numbers[track - 1] >= 0}
        reader = Reader(self.broadcast.resume(after), dict(after), resumed=bool(after), joined=not after)
        return self._add(reader)

    @rule(target=readers, reader=readers)
    def fork(self, reader: Reader) -> object:
        copy = Reader(
            reader.cursor.fork(),
            dict(reader.had),
            dict(reader.expects),
            reader.epoch,
            reader.resumed,
            reader.joined,
            reader.state,
            reader.index,
        )
        return self._add(copy)

    @rule(reader=readers, max_bytes=st.sampled_from([1, 300, 1000, 2**63]))
    def read(self, reader: Reader, max_bytes: int) -> None:
        before = reader.cursor.skipped
        for entry in self.broadcast.read(reader.cursor, max_bytes):
            self._check(reader, entry)
        assert reader.cursor.skipped >= before

    @rule(reader=readers)
    def skip(self, reader: Reader) -> None:
        self.broadcast.skip(reader.cursor)

    @rule(reader=readers)
    def read_all(self, reader: Reader) -> None:
        """A reader that has read everything knows the newest state and the newest chunk held of each track."""
        self.read(reader, 2**63)
        assert self.broadcast.read(reader.cursor) == []
        assert reader.state == self.broadcast.state
        if reader.cursor.position is None:
            assert self.broadcast.join().position is None
            return
        held = [entry for entry in self.broadcast.read(self.broadcast.replay()) if isinstance(entry, Chunk)]
        for track in (1, 2) if not reader.cursor.skipped else ():
            newest = [c.id for c in held if c.id.track == track][-1:]
            if newest and track in reader.had:
                assert reader.had[track].position >= newest[0].position

    @rule(one=readers, two=readers)
    def level_readers_read_the_same(self, one: Reader, two: Reader) -> None:
        if self.broadcast.is_level(one.cursor) and self.broadcast.is_level(two.cursor):
            assert self.broadcast.read(one.cursor.fork()) == []
            self.produce(1, 1, 2)
            first, second = self.broadcast.read(one.cursor.fork()), self.broadcast.read(two.cursor.fork())
            assert first == second

    # -- checks ------------------------------------------------------------------------------------

    def _add(self, reader: Reader) -> object:
        if len(self.all_readers) >= 6:
            return multiple()
        self.all_readers.append(reader)
        return reader

    def _check(self, reader: Reader, entry: Entry) -> None:
        if isinstance(entry, Chunk):
            self._check_chunk(reader, entry)
        elif isinstance(entry, Gap):
            self._check_gap(reader, entry)
        elif isinstance(entry, Opened):
            assert entry.epoch > reader.epoch
            assert entry.tracks == (VIDEO, AUDIO)
            reader.epoch = entry.epoch
        else:
            assert entry != reader.state or entry is not reader.state
            reader.state = entry

    def _check_gap(self, reader: Reader, gap: Gap) -> None:
        had = reader.had.get(gap.next.track)
        if had is not None:
            assert had.position < gap.next.position, "a gap before what was had"
            new_epoch = gap.next.epoch > had.epoch
            unsure = reader.resumed or (reader.cursor.skipped and new_epoch) or gap.next.track in reader.expects
            unsure = unsure or (new_epoch and gap.next in self.told)
            assert unsure or not _follows(had, gap.next), "a gap that is none"
        reader.expects[gap.next.track] = gap.next

    def _check_chunk(self, reader: Reader, item: Chunk) -> None:
        track, index = item.id.track, self.position[item.id]
        assert item.id.epoch == reader.epoch, "tracks of the epoch come first"
        assert index > reader.index, "a cursor never goes back"
        had = reader.had.get(track)
        if had is not None:
            assert item.id.position > had.position, "each chunk once and in order"
            if not _follows(had, item.id):
                told = reader.expects.get(track)
                assert told is not None, f"{item.id} after {had} and no gap told"
                assert had.position < told.position <= item.id.position
        elif reader.joined and track == 1 and not any(t == 1 for t in reader.had):
            assert item.random_access, "a reader that joins begins at a random access point"
        reader.expects.pop(track, None)
        reader.had[track] = item.id
        reader.index = index

    @invariant()
    def the_ring_is_bounded(self) -> None:
        assert self.broadcast.bytes <= LIMITS.bytes
        log = self.broadcast.resume({1: ChunkId(Epoch(0), 1, 0, 0), 2: ChunkId(Epoch(0), 2, 0, 0)})
        held = [entry for entry in self.broadcast.read(log) if isinstance(entry, Chunk)]
        assert sum(len(item.record) + ENTRY_BYTES for item in held) <= self.broadcast.bytes


def _follows(had: ChunkId, next: ChunkId) -> bool:
    """Return whether `next` is the chunk after `had`, by the numbering of `streams.chunk`."""
    if next.epoch > had.epoch:
        return next.chunk == 0 and next.segment <= had.segment + 1
    if had.chunk == PER_SEGMENT - 1:
        return next.position == (had.epoch, had.segment + 1, 0)
    return next.position == (had.epoch, had.segment, had.chunk + 1)


TestBroadcastModel = BroadcastModel.TestCase
TestBroadcastModel.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
