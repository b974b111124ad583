"""A feed from the first attempt to its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import AsyncIterator
from typing import TypeGuard

import structlog
from structlog.testing import capture_logs

from headrace.registry.leases import Kind, Lease, LeaseKey
from headrace.registry.memory import MemoryStore
from headrace.registry.records import SEGMENT_MAX, StreamNumbers, StreamRecord
from headrace.relay.broadcast import Entry, Opened
from headrace.testing import wait_until
from headrace.wire.stream import StreamState
from headrace_ingress.feed import READER_STOP_SECONDS
from headrace_ingress.numbering import UNTOLD_SEGMENTS
from headrace_ingress.source import SourceBroken, SourceEnded
from unit.ingress.scripted import NAME, OTHER, Frames, Hang, Stage, Step, WaitForStop


@contextlib.asynccontextmanager
async def running(stage: Stage) -> AsyncIterator[Stage]:
    """Run a stage's feed and registry for a `with` block, and end both."""
    await stage.registry.start()
    task = asyncio.create_task(stage.feed.run())
    try:
        yield stage
    finally:
        for source in stage.sources:
            source.stopping.set()
        task.cancel()
        await asyncio.wait([task])
        stage.feed.close()
        await stage.registry.close()
        assert task.cancelled() or task.exception() is None


def is_new(entry: Entry) -> TypeGuard[Opened]:
    """Return whether an epoch begins: not where its rates are told anew."""
    return isinstance(entry, Opened) and not entry.revision


def is_state(stage: Stage, state: StreamState) -> bool:
    return stage.broadcast.state.state is state


async def test_a_feed_goes_live() -> None:
    """Its chunks reach the broadcast, its state and route are told, and the registry knows it."""
    async with running(Stage([[Frames(50)]])) as stage:
        await wait_until(lambda: is_state(stage, StreamState.LIVE))
        route = [(hop.node, hop.role) for hop in stage.broadcast.state.route]
        assert route == [("node-1", "ingress")]
        record = stage.registry.streams[NAME]
        assert (record.node, record.epoch, record.state) == ("node-1", stage.broadcast.epoch, "live")
        assert [track.codec for track in record.tracks] == ["avc1.64001f"]
        assert stage.metric("feeds", state="live") == 1
        assert stage.metric("chunks_total") == len(stage.chunks()) > 0
    assert stage.metric("feeds", state="live") == stage.metric("feeds", state="interrupted") == 0
    assert NAME not in stage.registry.streams


async def test_only_its_reader_touches_a_source() -> None:
    """A source is opened, read and closed in one thread, which is not the loop's."""
    async with running(Stage([[Frames(50)]])) as stage:
        await wait_until(lambda: is_state(stage, StreamState.LIVE))
    (source,) = stage.sources
    assert source.closed.is_set()
    assert len(source.threads) == 1
    assert threading.get_ident() not in source.threads


async def test_a_broken_feed_goes_on() -> None:
    """A break is told with its reason; the next attempt has a greater epoch, and numbers and timeline go on."""
    script: list[list[Step]] = [[Frames(60), SourceBroken("the plug was pulled")], [Frames(60), WaitForStop()]]
    with capture_logs() as logs:
        async with running(Stage(script)) as stage:
            await wait_until(lambda: len(stage.sources) == 2 and is_state(stage, StreamState.LIVE))
            chunks = stage.chunks()
    epochs = sorted({chunk.id.epoch for chunk in chunks})
    assert len(epochs) == 2
    first, second = ([chunk for chunk in chunks if chunk.id.epoch == epoch] for epoch in epochs)
    assert first[-1].ends_segment
    assert second[0].id.segment == first[-1].id.segment + 1
    assert second[0].id.chunk == 0
    assert second[0].decode_time >= first[-1].decode_time + first[-1].duration
    assert all(one.is_followed_by(two.id) for one, two in itertools.pairwise(first))
    told = [line["event"] for line in logs if line["event"].startswith("feed_")]
    assert told == ["feed_live", "feed_broken", "feed_back", "feed_closed"]
    assert next(line for line in logs if line["event"] == "feed_broken")["reason"] == "the plug was pulled"
    assert stage.metric("breaks_total") == 1


async def test_a_source_that_falls_silent_is_told_and_kept() -> None:
    """Nothing comes: the stream is interrupted while the connection stands, and live in the same epoch when it does."""
    hang = Hang()
    with capture_logs() as logs:
        async with running(Stage([[Frames(10), hang, Frames(30, 10), WaitForStop()]], silence_seconds=0.3)) as stage:
            await wait_until(lambda: is_state(stage, StreamState.LIVE))
            await wait_until(lambda: is_state(stage, StreamState.INTERRUPTED))
            assert stage.broadcast.state.reason.startswith("silent for ")
            assert stage.registry.streams[NAME].state == "interrupted"
            assert stage.metric("feeds", state="interrupted") == 1
            hang.release.set()
            await wait_until(lambda: is_state(stage, StreamState.LIVE))
            assert (len(stage.sources), stage.metric("epochs_total"), stage.metric("breaks_total")) == (1, 1, 1)
            chunks = stage.chunks()
    assert all(one.is_followed_by(two.id) for one, two in itertools.pairwise(chunks))
    told = [line["event"] for line in logs if line["event"].startswith("feed_")]
    assert told[:3] == ["feed_live", "feed_broken", "feed_back"]


async def test_silence_and_its_break_are_one() -> None:
    """A source that is given up after it was told silent is counted and logged once, with its new reason shown."""
    hang = Hang()
    with capture_logs() as logs:
        script: list[list[Step]] = [[Frames(10), hang, SourceBroken("given up")], [SourceBroken("no answer")]]
        async with running(Stage(script, silence_seconds=0.3)) as stage:
            await wait_until(lambda: stage.metric("breaks_total") == 1)
            assert stage.broadcast.state.reason.startswith("silent for ")
            hang.release.set()
            await wait_until(lambda: stage.broadcast.state.reason == "no answer")
            assert stage.metric("breaks_total") == 1
    assert [line["event"] for line in logs].count("feed_broken") == 1


async def test_a_slate_fills_in() -> None:
    """While a source is away: an epoch of its own, the stream interrupted; numbers and time go on through all of it."""
    hang = Hang()
    script: list[list[Step]] = [[Frames(60), SourceBroken("gone")], [hang, Frames(60), WaitForStop()]]
    stage = Stage(script, slate=[Frames(50, track=OTHER), WaitForStop()])
    with capture_logs() as logs:
        async with running(stage):
            await wait_until(lambda: stage.metric("slates_total") == 1 and bool(stage.broadcast.last))
            await wait_until(lambda: stage.broadcast.last[1].id.epoch == stage.broadcast.epoch)
            assert (stage.broadcast.tracks[1].header, stage.broadcast.state.reason) == (b"two", "gone")
            assert is_state(stage, StreamState.INTERRUPTED)
            assert stage.registry.streams[NAME].state == "interrupted"
            hang.release.set()
            await wait_until(lambda: is_state(stage, StreamState.LIVE))
            assert stage.slates[0].closed.is_set()
            chunks = stage.chunks()
    epochs = sorted({chunk.id.epoch for chunk in chunks})
    assert len(epochs) == 3
    for one, two in itertools.pairwise(chunks):
        if one.id.epoch == two.id.epoch:
            assert one.is_followed_by(two.id)
        else:
            assert one.ends_segment
            assert (two.id.segment, two.id.chunk) == (one.id.segment + 1, 0)
        assert two.decode_time >= one.decode_time + one.duration
    told = [line["event"] for line in logs if line["event"].startswith("feed_")]
    assert told[:3] == ["feed_live", "feed_broken", "feed_back"]
    assert stage.metric("breaks_total") == 1


async def test_a_silent_source_is_held_for_a_slate() -> None:
    """Its connection stands, and its media come in an epoch after the slate's."""
    hang = Hang()
    script: list[list[Step]] = [[Frames(10), hang, Frames(60, 10), WaitForStop()]]
    stage = Stage(script, slate=[Frames(50, track=OTHER), WaitForStop()], silence_seconds=0.3)
    async with running(stage):
        await wait_until(lambda: stage.metric("slates_total") == 1)
        assert is_state(stage, StreamState.INTERRUPTED)
        hang.release.set()
        await wait_until(lambda: is_state(stage, StreamState.LIVE))
        assert (len(stage.sources), len(stage.slates)) == (1, 1)
        opened = [entry.tracks[0] for entry in stage.entries if is_new(entry)]
        assert [(track.header, track.discontinuity) for track in opened] == [(b"one", 0), (b"two", 1), (b"one", 2)]


async def test_a_source_that_was_never_live_has_no_slate() -> None:
    """Nothing is published of a stream whose source never opened: another node may have it."""
    async with running(Stage([[SourceBroken("no answer")]], slate=[Frames(50), WaitForStop()])) as stage:
        await wait_until(lambda: len(stage.sources) >= 5)
        assert stage.slates == []


async def test_a_slate_ends_with_its_feed() -> None:
    """Whether the feed is stopped, or gives way to another publisher."""
    stage = Stage([[Frames(60), SourceBroken("gone")], [WaitForStop()]], slate=[Frames(50), WaitForStop()])
    async with running(stage):
        await wait_until(lambda: len(stage.slates) == 1)
        stage.feed.shut()
        await wait_until(stage.slates[0].closed.is_set)


async def test_many_failures_are_one_log_line() -> None:
    """A feed that cannot be opened says so once, shows the newest reason, and is tried on and on."""
    with capture_logs() as logs:
        async with running(Stage([[SourceBroken("no answer")], [SourceBroken("refused")]])) as stage:
            await wait_until(lambda: len(stage.sources) >= 5)
            assert stage.broadcast.state.reason == "refused"
            assert is_state(stage, StreamState.INTERRUPTED)
    assert [line["reason"] for line in logs if line["event"] == "feed_broken"] == ["no answer"]


async def test_a_feed_that_never_opened_is_known() -> None:
    """The registry has it, interrupted and without an epoch, so that operators see it; it outranks nobody."""
    async with running(Stage([[SourceBroken("no answer")]])) as stage:
        await wait_until(lambda: len(stage.sources) >= 2)
        record = stage.registry.streams[NAME]
        assert (record.state, record.epoch, record.tracks) == ("interrupted", 0, ())


async def test_numbers_that_no_record_may_hold_end_no_feed() -> None:
    """The stream is published all the same; that it is announced nowhere is told once, and by the readiness."""
    stage = Stage([[Frames(60), WaitForStop()]])
    with capture_logs() as logs:
        wild = StreamNumbers(next_segment=SEGMENT_MAX + 1)
        await stage.store.put([Lease(LeaseKey(Kind.STREAM, NAME), 1, "node-2", b"{}", wild)], 0)
        async with running(stage):
            await wait_until(lambda: is_state(stage, StreamState.LIVE) and bool(stage.chunks()))
            assert "not announced" in (stage.feed.problem or "")
    assert [line["event"] for line in logs].count("stream_not_announced") == 1


async def test_what_broke_is_told_in_a_word() -> None:
    """Whoever asked for the source sees that it failed, not that it is being opened."""
    async with running(Stage([[SourceBroken("no answer")]] * 50 + [[RuntimeError("a fault")]])) as stage:
        await wait_until(lambda: stage.hold.facts.get("code") == "broken")
        await wait_until(lambda: stage.hold.facts.get("code") == "fault")


async def test_a_feed_that_never_opened_disturbs_no_publisher() -> None:
    """While another node publishes the stream, a node whose source does not open leaves its record alone."""
    store = MemoryStore()
    async with running(Stage([[Frames(50), WaitForStop()]], store)) as first:
        await wait_until(lambda: store.numbers(NAME))
        async with running(Stage([[SourceBroken("no answer")]], store, node="node-2")) as second:
            await wait_until(lambda: len(second.sources) >= 2)
            assert second.registry.streams[NAME].node == "node-1"
            assert is_state(first, StreamState.LIVE)
        assert first.registry.streams[NAME].node == "node-1"


async def test_a_fault_in_a_reader_ends_its_attempt_only() -> None:
    """An exception nobody expected is logged and the feed tried again."""
    script: list[list[Step]] = [[Frames(30), RuntimeError("a fault")], [Frames(30), WaitForStop()]]
    with capture_logs() as logs:
        async with running(Stage(script)) as stage:
            await wait_until(lambda: len(stage.sources) == 2 and is_state(stage, StreamState.LIVE))
    assert [line["event"] for line in logs].count("reader_failed") == 1
    assert all(source.closed.is_set() for source in stage.sources)


async def test_a_source_that_is_over_ends_its_stream() -> None:
    """Only then is a stream `ended`; nothing is tried again."""
    async with running(Stage([[Frames(50), SourceEnded()]])) as stage:
        await wait_until(lambda: is_state(stage, StreamState.ENDED))
        assert stage.chunks()[-1].ends_segment
        assert len(stage.sources) == 1
        assert stage.registry.streams[NAME].state == "ended"


async def test_other_headers_are_a_new_epoch() -> None:
    """A change of tracks begins an epoch without a new attempt; the stream stays live."""
    async with running(Stage([[Frames(60), Frames(60, 60, OTHER), WaitForStop()]])) as stage:
        await wait_until(lambda: len(stage.chunks()) > 30 and stage.broadcast.tracks[1].header == OTHER.header)
        assert [entry.tracks[0].header for entry in stage.entries if is_new(entry)] == [b"one", b"two"]
        assert len(stage.sources) == 1
        assert stage.metric("epochs_total") == 2


async def test_a_jump_of_the_source_is_a_new_epoch() -> None:
    """When a source's times jump back, the connection stays and an epoch begins."""
    async with running(Stage([[Frames(60, 100_000), Frames(60, 0), WaitForStop()]])) as stage:
        await wait_until(lambda: stage.metric("epochs_total") == 2)
        assert len(stage.sources) == 1
        times = [chunk.decode_time for chunk in stage.chunks()]
        assert times == sorted(times)


async def test_an_epoch_without_media_does_not_count() -> None:
    """A source that breaks before its first keyframe leaves no hole in the count of epochs, which playlists tell."""
    broken: list[Step] = [Frames(20, 5), SourceBroken("no picture")]  # no keyframe among them
    script: list[list[Step]] = [[Frames(60), SourceBroken("x")], broken, broken, broken, [Frames(60), WaitForStop()]]
    async with running(Stage(script)) as stage:
        await wait_until(lambda: len(stage.sources) == 5 and is_state(stage, StreamState.LIVE))
        opened = {entry.epoch: entry.tracks[0].discontinuity for entry in stage.entries if is_new(entry)}
        assert len(opened) == 5
        assert [opened[epoch] for epoch in sorted({chunk.id.epoch for chunk in stage.chunks()})] == [0, 1]
        assert stage.registry.streams[NAME].epochs == 2


async def test_an_epoch_is_told_before_its_first_chunk() -> None:
    """Whoever takes over from a publisher that died as it began leaves out the epoch and the segment that it began."""
    store = MemoryStore()

    async def told() -> bool:
        known = await store.numbers(NAME)
        return known is not None and known.epochs == 1

    async with running(Stage([[Frames(20, 5), WaitForStop()]], store)) as stage:  # no keyframe among them
        await wait_until(lambda: stage.metric("epochs_total") == 1)
        epoch = stage.broadcast.epoch
        assert (stage.chunks(), stage.registry.streams[NAME].epoch) == ([], epoch)
        begun = stage.registry.streams[NAME].next_segment
        await wait_until(told)
    async with running(Stage([[Frames(30)]], store, node="node-2")) as second:
        await wait_until(lambda: is_state(second, StreamState.LIVE))
        assert second.broadcast.tracks[1].discontinuity == 1
        assert second.chunks()[0].id.segment >= begun


async def test_a_note_is_told_once() -> None:
    """What is left out of a source is logged at its first attempt only."""
    with capture_logs() as logs:
        async with running(Stage([[Frames(30), SourceBroken("x")]], note="no sound")) as stage:
            await wait_until(lambda: len(stage.sources) >= 4)
    assert [line["note"] for line in logs if line["event"] == "feed_note"] == ["no sound"]


async def test_a_hanging_library_does_not_hold_a_stop() -> None:
    """A reader that hangs is left alone after a moment; what it does later changes nothing and its source is closed."""
    hang = Hang()
    stage = Stage([[Frames(50), hang, Frames(50, 50)]])
    async with running(stage):
        await wait_until(hang.entered.is_set)
        begun = time.monotonic()
    assert time.monotonic() - begun < READER_STOP_SECONDS + 10
    assert stage.metric("abandoned_readers_total") == 1
    before = len(stage.chunks())
    hang.release.set()
    (source,) = stage.sources
    await wait_until(source.closed.is_set)
    await asyncio.sleep(0)
    assert len(stage.chunks()) == before


async def test_numbers_go_on_after_a_restart() -> None:
    """Another process that takes the stream over leaves out the one number that may have been begun untold."""
    store = MemoryStore()
    async with running(Stage([[Frames(120)]], store)) as first:
        await wait_until(lambda: is_state(first, StreamState.LIVE))
        await wait_until(lambda: store.numbers(NAME))
        last = first.chunks()[-1]
    async with running(Stage([[Frames(30)]], store, node="node-2")) as second:
        await wait_until(lambda: is_state(second, StreamState.LIVE))
        begin = second.chunks()[0]
    assert begin.id.epoch > last.id.epoch
    assert begin.id.segment == last.id.segment + 1 + UNTOLD_SEGMENTS


async def test_an_unknown_stream_begins_at_the_utc_second() -> None:
    """Numbers that nobody knows begin where they are never behind one that was given out."""
    begun = int(time.time())
    async with running(Stage([[Frames(30)]])) as stage:
        await wait_until(lambda: is_state(stage, StreamState.LIVE))
        assert begun <= stage.chunks()[0].id.segment <= time.time()


async def test_it_stands_by_while_another_publishes() -> None:
    """Fenced by a newer epoch it stops and says who publishes; when that one is gone it goes on above its epoch."""
    stage = Stage([[Frames(60), WaitForStop()]])
    async with running(stage):
        await wait_until(lambda: is_state(stage, StreamState.LIVE))
        other = Stage([[]], stage.store, node="node-2").registry
        await other.start()
        epoch = stage.broadcast.epoch + 1_000_000
        other.keep_stream(StreamRecord(stream=NAME, node="node-2", epoch=epoch, state="live"))
        await wait_until(lambda: "node-2" in stage.broadcast.state.reason)
        assert is_state(stage, StreamState.INTERRUPTED)
        await other.close()
        await wait_until(lambda: is_state(stage, StreamState.LIVE))
        assert stage.broadcast.epoch > epoch


def test_log_lines_carry_the_stream() -> None:
    """Every line of a feed is bound to its stream and source."""
    stage = Stage([[Frames(1)]])
    assert structlog.get_context(stage.feed._telling.log) == {"stream": NAME, "source": "test"}
