"""The fan-out, with viewers that are plain objects and an event loop that runs when told to."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from headrace.identifiers import StreamName
from headrace.relay.broadcast import Broadcast, Opened, RingLimits
from headrace.testing import FakeClock
from headrace.wire import play
from headrace.wire.chunk import Chunk, Flag, make_chunk
from headrace.wire.stream import StreamState, Track
from headrace_edge.batching import FRAMES_MAX_BYTES, Batcher
from headrace_edge.fanout import BATCH_MAX_BYTES, BROKEN_AT_ONCE, JOINING_TURN_VIEWERS, FanOut, FanOutLimits
from headrace_edge.frames import CloseCode
from headrace_edge.framing import Framing, PlainFraming, PlayFraming, Unframeable
from headrace_edge.metrics import EdgeMetrics, edge_metrics
from unit.edge.reading import FakeSender, split_frames
from unit.edge.synthetic import AUDIO, CHUNKS_PER_SEGMENT, DATA, OTHER_VIDEO, VIDEO, Feed


class Stage:
    """One stream with its fan-out."""

    def __init__(
        self, framing: Framing | None = None, *, chunk_bytes: int = 500, ring: RingLimits | None = None, **limits: float
    ) -> None:
        self.clock = FakeClock()
        self.registry = CollectorRegistry()
        self.metrics: EdgeMetrics = edge_metrics(self.registry)
        self.broadcast = Broadcast(StreamName("demo"), ring)
        self.chunk_bytes = chunk_bytes
        self._due: list[Callable[[], None]] = []
        self.turns = 0
        self._framing = framing or PlayFraming()
        self._limits = FanOutLimits(**limits)  # type: ignore[arg-type]
        self.fan_out = self.open()
        self._feed: Feed | None = None

    def open(self) -> FanOut:
        """Return another fan-out of the stream."""
        counts = self.metrics.output(self._framing.door)
        return FanOut(self.broadcast, self._framing, self._limits, counts, self.clock, self._call_soon)

    def _call_soon(self, run: Callable[[], None]) -> None:
        self._due.append(run)

    @property
    def feed(self) -> Feed:
        """What writes the stream; it begins when first asked for."""
        if self._feed is None:
            self._feed = Feed(self.broadcast, chunk_bytes=self.chunk_bytes)
        return self._feed

    def settle(self) -> None:
        """Run turns until nothing is due."""
        while self._due:
            due, self._due = self._due, []
            for run in due:
                self.turns += 1
                run()

    def push(self, times: int = 1, *, turn_each: bool = True) -> list[Chunk]:
        """Write chunks, with a turn after each pair of video and audio."""
        chunks = []
        for _ in range(times):
            chunks += self.feed.push()
            if turn_each:
                self.settle()
        self.settle()
        return chunks

    def join(self, **options: object) -> FakeSender:
        sender = FakeSender()
        self.fan_out.add(sender, **options)  # type: ignore[arg-type]
        self.settle()
        return sender

    def value(self, name: str, door: str = "play") -> float:
        return self.registry.get_sample_value(f"headrace_edge_{name}", {"door": door}) or 0.0


def ids(said: list[Chunk]) -> list[str]:
    return [str(chunk.id) for chunk in said]


def test_viewers_get_the_same_bytes_object() -> None:
    """Every live viewer is handed one object for video and audio of a turn, not a copy."""
    stage = Stage()
    stage.push()
    viewers = [stage.join() for _ in range(5)]
    stage.push()
    last = [viewer.writes[-1] for viewer in viewers]
    assert all(data is last[0] for data in last)
    assert len(viewers[0].writes) == 2, "one write for what it joined with, one for the turn"


def test_a_single_chunk_is_written_as_its_one_frame() -> None:
    """What one viewer is due alone is the very object that others get, whenever they come for it."""
    stage = Stage()
    stage._feed = Feed(stage.broadcast, tracks=(VIDEO,))
    stage.push(2)
    had = {1: stage.feed.sent[0].id}
    assert stage.join(after=had).writes[-1] is stage.join(after=had).writes[-1]


def test_joining_begins_at_the_newest_random_access_point() -> None:
    """State and tracks come first, then chunks from the newest random access point to live, then what comes."""
    stage = Stage()
    stage.push(CHUNKS_PER_SEGMENT + 3)
    viewer = stage.join()
    stage.push(2)
    said = viewer.play()
    state, tracks = said[0], said[1]
    assert isinstance(state, play.State)
    assert state.state is StreamState.LIVE
    assert [hop.node for hop in state.route] == ["ingress-1"]
    assert isinstance(tracks, play.Tracks)
    assert tracks.tracks == (VIDEO, AUDIO)
    assert viewer.chunks() == stage.feed.sent[2 * CHUNKS_PER_SEGMENT :]
    assert viewer.chunks()[0].random_access


def test_waiting_for_a_stream_that_comes_later() -> None:
    """A viewer of a stream that nobody publishes is told so, and gets tracks and media as soon as they come."""
    stage = Stage()
    viewer = stage.join()
    assert [said.state for said in viewer.play() if isinstance(said, play.State)] == [StreamState.INTERRUPTED]
    stage.push(3)
    assert viewer.chunks() == stage.feed.sent
    assert sum(isinstance(said, play.Tracks) for said in viewer.play()) == 1
    assert stage.fan_out.places() == {"live": 1, "joining": 0, "paused": 0}


def test_tracks_come_before_the_first_random_access_point() -> None:
    """A viewer that joins inside the first GOP after an epoch began is told the tracks at once, and once."""
    stage = Stage()
    stage.push(3)
    stage.feed.open()
    viewer = stage.join()
    assert viewer.chunks() == []
    assert isinstance(viewer.play()[-1], play.Tracks)
    chunks = stage.push(2)
    assert viewer.chunks() == chunks
    assert sum(isinstance(said, play.Tracks) for said in viewer.play()) == 1


def test_resuming_loses_nothing_and_repeats_nothing() -> None:
    """A viewer that comes back with its last chunks gets all that follow, of each track, exactly once."""
    stage = Stage()
    stage.push(25)
    had = stage.feed.sent[: 2 * 7 + 1]  # one track is a chunk further than the other
    viewer = stage.join(after={chunk.id.track: chunk.id for chunk in had})
    stage.push(5)
    assert ids(viewer.chunks()) == ids(stage.feed.sent[2 * 7 + 1 :])


def test_resuming_with_everything_had() -> None:
    """Who has all there is gets nothing twice, and the tracks before the next chunk."""
    stage = Stage()
    stage.push(4)
    viewer = stage.join(after={chunk.id.track: chunk.id for chunk in stage.feed.sent})
    assert viewer.chunks() == []
    chunks = stage.push(3)
    assert viewer.chunks() == chunks
    kinds = [type(said) for said in viewer.play()]
    assert kinds.index(play.Tracks) < kinds.index(Chunk)


def test_resuming_ahead_of_this_edge() -> None:
    """A player that had newer chunks elsewhere waits until this edge has got there too."""
    stage = Stage()
    ahead = Feed(chunk_bytes=stage.chunk_bytes)
    ahead.push(6)
    stage.push(3)
    viewer = stage.join(after={chunk.id.track: chunk.id for chunk in ahead.sent})
    stage.push(6)
    assert ids(viewer.chunks()) == ids(stage.feed.sent[2 * 6 :])


def test_resuming_where_nobody_can_join() -> None:
    """A ring that holds no random access point still has what follows for a viewer that resumes, then what comes."""
    stage = Stage(ring=RingLimits(30.0, 10_000))
    stage.push(6)
    stage.fan_out = stage.open()
    joining = stage.join()
    resuming = stage.join(after={chunk.id.track: chunk.id for chunk in stage.feed.sent[-4:-2]})
    assert stage.fan_out.places() == {"live": 1, "joining": 1, "paused": 0}
    stage.push(2)
    assert resuming.chunks() == stage.feed.sent[-6:]
    assert joining.chunks() == []


def test_resuming_after_what_the_ring_let_go() -> None:
    """What was lost is told as a gap for each track before its next chunk."""
    stage = Stage(ring=RingLimits(seconds=1.0))
    stage.push(3)
    had = {chunk.id.track: chunk.id for chunk in stage.feed.sent}
    stage.push(40)
    viewer = stage.join(after=had)
    gaps = [said for said in viewer.play() if isinstance(said, play.GapNotice)]
    firsts = {chunk.id.track: chunk.id.position for chunk in reversed(viewer.chunks())}
    assert {gap.track: gap.next for gap in gaps} == firsts


def test_what_comes_in_one_turn_leaves_in_one_write() -> None:
    """Chunks that arrive between two turns of the loop are joined, for every viewer the same."""
    stage = Stage()
    stage.push()
    viewers = [stage.join(), stage.join()]
    before = len(viewers[0].writes)
    stage.push(3, turn_each=False)
    assert len(viewers[0].writes) == before + 1
    assert viewers[0].writes[-1] is viewers[1].writes[-1]
    assert viewers[0].chunks() == stage.feed.sent


def test_a_slow_viewer_waits_in_the_ring_and_catches_up() -> None:
    """A viewer whose connection is full is not written to, disturbs nobody, and later gets all that it missed."""
    stage = Stage(chunk_bytes=20_000)
    stage.push()
    slow, quick = stage.join(), stage.join()
    slow.stuck = True
    stage.push(30)
    assert stage.fan_out.places() == {"live": 1, "joining": 0, "paused": 1}
    assert slow.unsent() <= BATCH_MAX_BYTES
    assert quick.chunks() == stage.feed.sent
    slow.stuck = False
    slow.drain()
    stage.settle()
    assert slow.chunks() == stage.feed.sent
    assert stage.fan_out.places() == {"live": 2, "joining": 0, "paused": 0}
    stage.push()
    assert slow.writes[-1] is quick.writes[-1]
    assert stage.value("skipped_total") == 0


def test_a_viewer_that_is_too_slow_is_moved_forward() -> None:
    """Beyond its lag a viewer goes on at the newest random access point, is told, and is counted."""
    stage = Stage(chunk_bytes=20_000, lag_bytes=1_000_000)
    stage.push()
    slow = stage.join()
    slow.stuck = True
    stage.push(10)
    taken = len(slow.chunks())
    stage.push(42)
    slow.stuck = False
    slow.drain()
    stage.settle()
    said = slow.play()
    skipped = [message for message in said if isinstance(message, play.Skipped)]
    after = slow.chunks()[taken:]
    assert len(skipped) == 1
    assert skipped[0].entries > 0
    assert after[0].random_access
    assert after[0].id.chunk == 0
    assert after == stage.feed.sent[-len(after) :]
    assert len(after) == 2 * 3, "1 + 10 + 42 pushes end three chunks into a segment"
    gaps = {message.track: message.next for message in said if isinstance(message, play.GapNotice)}
    assert gaps == {1: after[0].id.position, 2: after[1].id.position}
    assert stage.value("skipped_total") == 1


def test_a_viewer_behind_by_less_than_its_lag_is_not_skipped() -> None:
    """A long backlog of a viewer that resumes is not lag: nothing of it is passed over."""
    stage = Stage(chunk_bytes=20_000, lag_bytes=100_000)
    stage.push(30)
    viewer = stage.join(after={chunk.id.track: chunk.id for chunk in stage.feed.sent[:2]})
    stage.push()
    assert viewer.chunks() == stage.feed.sent[2:]


def test_a_stuck_viewer_costs_no_more_than_its_share() -> None:
    """However long a viewer reads nothing, what is unsent for it stays under high water and one batch."""
    stage = Stage(chunk_bytes=60_000)
    stage.push()
    stuck = stage.join()
    stuck.stuck = True
    stage.push(100)
    assert stuck.unsent() <= BATCH_MAX_BYTES + 60_100


def test_a_stuck_viewer_is_cut_off() -> None:
    """A viewer that takes nothing for the limit is cut off and counted; one that takes a little stays."""
    stage = Stage(chunk_bytes=60_000, stuck_seconds=10.0)
    stage.push()
    stuck, trickling = stage.join(), stage.join()
    stuck.stuck = trickling.stuck = True
    stage.push(10)
    for _ in range(11):
        trickling.drain(100)
        stage.clock.advance(1.0)
        stage.fan_out.sweep(20)
    assert (stuck.aborted, trickling.aborted) == (True, False)
    assert stage.fan_out.viewers == 1
    assert stage.value("stuck_total") == 1


def test_many_stuck_viewers_are_cut_off_in_several_turns() -> None:
    """The others do not wait for it."""
    stage = Stage(chunk_bytes=60_000, stuck_seconds=10.0)
    stage.push()
    stuck = [stage.join() for _ in range(25)]
    for sender in stuck:
        sender.stuck = True
    stage.push(10)
    assert stage.fan_out.places()["paused"] == len(stuck)
    stage.clock.advance(5.0)
    assert not stage.fan_out.sweep(20)
    stage.clock.advance(11.0)
    assert stage.fan_out.sweep(20)
    assert stage.fan_out.viewers == 5
    assert not stage.fan_out.sweep(20)
    assert stage.fan_out.viewers == 0


def test_joining_viewers_do_not_hold_up_live_ones() -> None:
    """Many who join at once are served over several turns; everybody gets everything."""
    stage = Stage(chunk_bytes=40_000)
    stage.push(8)
    senders = [FakeSender() for _ in range(40)]
    for sender in senders:
        stage.fan_out.add(sender)
    before = stage.turns
    stage.settle()
    assert stage.turns - before > 2
    assert all(sender.chunks() == stage.feed.sent for sender in senders)


def test_viewers_who_join_together_share_what_they_get() -> None:
    """The batch for a random access point and what follows is joined once."""
    stage = Stage()
    stage.push(5)
    senders = [FakeSender() for _ in range(3)]
    for sender in senders:
        stage.fan_out.add(sender)
    stage.settle()
    assert senders[0].writes[0] is senders[1].writes[0] is senders[2].writes[0]


def test_a_new_epoch_is_told_to_live_viewers() -> None:
    """Interruption, new tracks and the first chunk of the next epoch come in order, with no gap in between."""
    stage = Stage()
    stage.push(3)
    viewer = stage.join()
    stage.feed.interrupt()
    stage.settle()
    stage.feed.open(OTHER_VIDEO, AUDIO)
    stage.push(2)
    kinds = [type(said).__name__ for said in viewer.play()[2 + 6 :]]
    assert kinds == ["State", "Tracks", "State", "Chunk", "Chunk", "Chunk", "Chunk"]
    assert viewer.chunks() == stage.feed.sent


def test_an_ended_stream_lets_players_go() -> None:
    """Everything is sent, then the state, then the connection is closed; a slow viewer is closed once it caught up."""
    stage = Stage(chunk_bytes=60_000)
    stage.push()
    viewer, slow = stage.join(), stage.join()
    slow.stuck = True
    stage.push(9)
    stage.feed.end()
    stage.settle()
    assert viewer.finished is CloseCode.DONE
    assert isinstance(viewer.play()[-1], play.State)
    assert slow.finished is None
    slow.drain()
    slow.stuck = False
    stage.settle()
    assert slow.finished is CloseCode.DONE
    assert slow.chunks() == stage.feed.sent


def test_plain_viewers_stay_when_a_stream_ended() -> None:
    """Players that know no states wait for its return."""
    stage = Stage(PlainFraming())
    stage.push()
    viewer = stage.join()
    stage.feed.end()
    stage.settle()
    assert viewer.finished is None


@pytest.mark.parametrize("joined_before", [True, False])
def test_plain_header_is_sent_again_only_when_it_changed(joined_before: bool) -> None:
    """An epoch with the same headers goes on without one; a changed one comes before its first chunk."""
    stage = Stage(PlainFraming())
    if joined_before:
        stage.push(2)
    viewer = stage.join()
    if not joined_before:
        stage.push(2)
    stage.feed.open()
    stage.push(2)
    boxes = [data[4:8] for _, data in split_frames(viewer.data)]
    assert boxes == [b"ftyp"] + [b"moof"] * 8
    stage.feed.open(OTHER_VIDEO, AUDIO)
    stage.push(1)
    boxes = [data[4:8] for _, data in split_frames(viewer.data)]
    assert boxes == [b"ftyp"] + [b"moof"] * 8 + [b"ftyp"] + [b"moof"] * 2


def test_boxes_that_cannot_be_read_are_left_out() -> None:
    """A header or chunk that the framing can make nothing of is counted; the rest goes on."""
    stage = Stage(PlainFraming())
    stage.feed.open(Track(track=1, kind="video", codec="avc1.64001f", timescale=1000, header=b"no boxes at all"))
    viewer = stage.join()
    chunks = stage.push(2)
    assert [data[4:8] for _, data in split_frames(viewer.data)] == [b"moof"] * len(chunks)
    bad = chunks[-1].id._replace(chunk=chunks[-1].id.chunk + 1)
    stage.broadcast.append(make_chunk(bad, Flag(0), chunks[-1].decode_time + 100, 100, 0, 1, 0, b"\0\0\0\3prft"))
    stage.settle()
    assert stage.value("unframeable_total", "fmp4") == 2
    stage.feed.open(VIDEO, AUDIO)
    stage.push()
    assert [data[4:8] for _, data in split_frames(viewer.data)][-3:] == [b"ftyp", b"moof", b"moof"]


def test_what_is_kept_for_joiners_is_bounded() -> None:
    """Frames are kept up to a limit, empty ones included."""
    unframeable: list[Unframeable] = []
    batcher = Batcher(PlainFraming(), unframeable.append)
    feed = Feed(tracks=(VIDEO, DATA), chunk_bytes=10_000)
    opened = Opened(feed.broadcast.epoch, (VIDEO, DATA))
    feed.push(1000)
    frames, _ = batcher.frame(list(feed.sent), opened)
    assert len(frames) == 1000
    assert batcher._held_bytes <= FRAMES_MAX_BYTES
    assert 0 < len(batcher._frames) < 500


def test_heartbeats_reach_all_but_those_who_cannot_take_them() -> None:
    """What is told to everybody skips paused viewers, for whom it would only pile up."""
    stage = Stage(chunk_bytes=60_000)
    stage.push()
    viewer, stuck = stage.join(), stage.join()
    stuck.stuck = True
    stage.push(5)
    waiting = len(stuck.writes)
    stage.fan_out.tell(b"\x81\x00")
    assert viewer.writes[-1] == b"\x81\x00"
    assert len(stuck.writes) == waiting


def test_a_stream_that_flows_needs_no_heartbeat() -> None:
    """Live viewers are pinged when nothing was sent for a while, those that wait for media always."""
    stage = Stage()
    stage.push()
    viewer = stage.join()
    stage.push()
    assert stage.fan_out.silent(0.25) == []
    stage.clock.advance(0.25)
    assert stage.fan_out.silent(0.25) == [viewer]
    stage.feed.open()
    stage.settle()
    waiting = stage.join()
    assert stage.fan_out.silent(0.25) == [waiting]


def test_who_waits_for_media_is_looked_at_when_some_come() -> None:
    """Thousands may wait for a stream that nobody publishes: one more is no work for all of them."""
    stage = Stage()
    senders = [stage.join() for _ in range(3 * JOINING_TURN_VIEWERS)]
    assert stage.fan_out.places()["joining"] == len(senders)
    before = stage.turns
    late = stage.join()
    assert stage.turns - before == 1
    stage.push(2)
    assert stage.fan_out.places()["live"] == len(senders) + 1
    assert all(sender.chunks() == stage.feed.sent for sender in (*senders, late))


def test_connections_that_broke_together_are_let_go_in_several_turns() -> None:
    """A write finds that a crowd left: nobody of it is written to again, and others do not wait for its end."""
    stage = Stage()
    stage.push()
    crowd, stayed = [stage.join() for _ in range(3 * BROKEN_AT_ONCE)], stage.join()
    for sender in crowd:
        sender.broken = True
    before = stage.turns
    stage.push()
    assert stage.turns - before >= 3
    assert all(sender.aborted for sender in crowd)
    assert stage.fan_out.places() == {"live": 1, "joining": 0, "paused": 0}
    assert stayed.chunks() == stage.feed.sent


def test_leaving() -> None:
    """A closed fan-out listens no more; removing a viewer twice is harmless."""
    stage = Stage()
    stage.push()
    sender = FakeSender()
    viewer = stage.fan_out.add(sender)
    stage.settle()
    stage.fan_out.remove(viewer)
    stage.fan_out.remove(viewer)
    written = len(sender.writes)
    stage.fan_out.close()
    stage.push()
    assert len(sender.writes) == written
    assert stage.broadcast.listeners == set()


def test_counting() -> None:
    """Bytes, messages and the time to the first media are counted."""
    stage = Stage()
    stage.push()
    viewers = [stage.join(), stage.join()]
    stage.push()
    assert stage.value("sent_bytes_total") == sum(len(viewer.data) for viewer in viewers)
    assert stage.value("sent_messages_total") == sum(len(viewer.play()) for viewer in viewers)
    assert stage.value("join_seconds_count") == 2
