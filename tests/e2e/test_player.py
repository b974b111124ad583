"""The player in a real browser, against a small edge that fails on order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import pytest

from headrace.identifiers import Epoch, StreamName
from headrace.relay.broadcast import Broadcast
from headrace.testing import wait_until
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from support.browser import WatchedPage, open_page, requires_chromium
from support.live_media import Clip, Publisher, make_clip
from support.play_server import PlayServer

pytestmark = [pytest.mark.browser, requires_chromium]

GOES_ON = "stats.state === 'live' && video.readyState > 2 && stats.behindMs > 0 && stats.behindMs < 5000"
SETTLED = "stats.state === 'live' && !video.seeking && stats.rate === 1 && stats.behindMs > 0 && stats.behindMs < 400"


Audio = Literal["aac", "opus", None]


@dataclass
class Stage:
    """What a test plays with."""

    publisher: Publisher
    server: PlayServer
    browser: WatchedPage

    async def settle(self) -> None:
        """Wait until the player plays at live, at a rate of 1."""
        await self.browser.wait_for_player(SETTLED)


@asynccontextmanager
async def stage(
    audio: Audio = "aac", heartbeat_ms: int = 1000, script: str = "", clip: Clip | None = None, publish: bool = True
) -> AsyncIterator[Stage]:
    """Publish a clip, serve it, and open the page, where `script` runs before its own."""
    publisher = Publisher(Broadcast(StreamName("test")))
    server = PlayServer(publisher.broadcast, heartbeat_ms=heartbeat_ms)
    if publish:
        await publisher.start(clip or make_clip(audio=audio))
    await server.start()
    try:
        async with open_page(server.url, script=script) as browser:
            yield Stage(publisher, server, browser)
            assert browser.errors == []
            assert browser.refused == []
    finally:
        await publisher.stop()
        await server.stop()


@pytest.mark.slow
async def test_plays_at_the_pace_of_the_source_without_a_stall() -> None:
    """For thirty seconds the position advances at 1.00 ± 0.01 of real time, a quarter of a second behind live."""
    async with stage() as on:
        await on.browser.wait_for_player("stats.state === 'live' && video.currentTime > 0")
        await asyncio.sleep(5)  # the promise holds from the fifth second on
        rate = await on.browser.measure_rate(30)
        if rate.stalls:  # a busy machine gets a second chance
            rate = await on.browser.measure_rate(30)
        assert rate.rate == pytest.approx(1.0, abs=0.01)
        assert rate.stalls == 0
        stats = await on.browser.player()
        assert stats["latencyMs"] < 500
        assert (stats["gaps"], stats["duplicates"], stats["jumps"], stats["recoveries"]) == (0, 0, 0, 0)
        assert stats["muted"] is True
        assert len(stats["ranges"]) == 1
        assert stats["ranges"][0][1] - stats["ranges"][0][0] < 20
        await wait_until(lambda: len(on.server.reports) > 2, 10)


async def test_plays_a_stream_without_sound() -> None:
    """A stream of video alone plays, and offers no sound button."""
    async with stage(audio=None) as on:
        await on.settle()
        shown = await on.browser.page.locator("headrace-player button.mute").is_visible()
        assert shown is False


async def test_plays_groups_of_pictures_longer_than_what_it_keeps() -> None:
    """Nothing is taken from a group of pictures that is played, however long; who joins late in it plays as well."""
    clip = make_clip(320, 180, frame_rate=10, gop_seconds=32)
    async with stage(clip=clip) as on:
        await on.settle()
        (first,) = (await on.browser.player())["ranges"]
        await on.browser.wait_for_player(f"video.currentTime > {first[0] + 17}", 30)  # 10 s kept, and 5 s of slack
        stats = await on.browser.player()
        assert (stats["jumps"], stats["recoveries"]) == (0, 0)
        ((start, end),) = stats["ranges"]
        assert start < stats["currentTime"] - 9
        assert end > stats["currentTime"]
        async with open_page(on.server.url) as late:
            stats = await late.wait_for_player(f"{GOES_ON} && video.currentTime > {first[0] + 17}")
            assert (stats["jumps"], stats["recoveries"], late.errors) == (0, 0, [])
        await on.browser.wait_for_player(GOES_ON)


async def test_waits_for_a_stream_that_nobody_has_seen() -> None:
    """A stream that was never there is waited for, in words and below them; it plays once it begins."""
    async with stage(publish=False) as on:
        await on.browser.wait_for_player("stats.state === 'interrupted'")
        status = on.browser.page.locator("headrace-player .status")
        assert await status.inner_text() == "Waiting"
        await on.publisher.start(make_clip())
        await on.settle()
        assert await status.inner_text() == "Live"
        await on.publisher.stop("the camera does not answer")
        await on.browser.wait_for_player("stats.state === 'interrupted'")
        assert await status.inner_text() == "Interrupted"


async def test_goes_on_after_the_connection_was_cut() -> None:
    """A cut connection is taken up at the next chunk: nothing is missing, nothing played twice, no reload."""
    async with stage() as on:
        await on.settle()
        on.server.cut()
        await on.browser.wait_for_player("stats.reconnects === 1")
        assert on.server.plays[1].session == on.server.plays[0].session
        assert set(on.server.plays[1].after or {}) == {1, 2}
        await on.settle()
        stats = await on.browser.player()
        assert (stats["gaps"], stats["jumps"], stats["recoveries"]) == (0, 0, 0)
        assert len(stats["ranges"]) == 1


async def test_goes_on_by_another_edge_when_its_edge_dies() -> None:
    """The edge is gone for good: another one of its list serves, from the next chunk on."""
    async with stage() as on:
        other = PlayServer(on.server.broadcast, "edge-2")
        await other.start()
        try:
            await on.settle()
            on.server.edges = (other.ws_url,)
            on.server.cut()
            await on.browser.wait_for_player("stats.reconnects === 1")
            await on.settle()
            await on.server.stop()
            await on.browser.wait_for_player("stats.edge === 'edge-2'")
            await on.settle()
            stats = await on.browser.player()
            assert (stats["gaps"], stats["jumps"]) == (0, 0)
            on.browser.errors.clear()  # connections refused by the dead edge
        finally:
            await other.stop()


async def test_follows_an_edge_that_goes_away_without_a_pause() -> None:
    """The player is served elsewhere before it leaves; the position goes on at its pace."""
    async with stage() as on:
        other = PlayServer(on.server.broadcast, "edge-2")
        await other.start()
        try:
            await on.settle()
            before = await on.browser.player()
            measured = asyncio.create_task(on.browser.measure_rate(2))
            await on.server.drain(other.ws_url)
            await on.browser.wait_for_player("stats.edge === 'edge-2'")
            await wait_until(lambda: on.server.viewers == 0, 5)
            rate = await measured
            assert rate.stalls == 0
            assert rate.rate == pytest.approx(1.0, abs=0.1)
            stats = await on.browser.player()
            assert (stats["gaps"], stats["jumps"]) == (before["gaps"], before["jumps"])
        finally:
            await other.stop()


async def test_leaves_an_edge_that_fell_silent() -> None:
    """An edge that is cut off without a word is left after three heartbeats."""
    async with stage(heartbeat_ms=200) as on:
        other = PlayServer(on.server.broadcast, "edge-2")
        await other.start()
        try:
            await on.settle()
            await on.settle()
            on.server.edges = (other.ws_url,)
            on.server.cut()
            await on.settle()
            await on.browser.wait_for_player("stats.edge === 'edge-1'")
            on.server.frozen = True
            await on.browser.wait_for_player("stats.edge === 'edge-2'")
            await on.settle()
        finally:
            await other.stop()


async def test_jumps_over_the_time_between_two_epochs() -> None:
    """The source comes back after two seconds with the same headers: the picture goes on, the buffers are kept."""
    async with stage() as on:
        await on.settle()
        await on.publisher.stop("the camera does not answer")
        stats = await on.browser.wait_for_player("stats.state === 'interrupted'")
        assert stats["reason"] == "the camera does not answer"
        await asyncio.sleep(2)
        await on.publisher.start(make_clip())
        await on.browser.wait_for_player("stats.state === 'live' && stats.jumps === 1")
        await on.settle()
        stats = await on.browser.player()
        assert (stats["recoveries"], stats["gaps"], len(stats["ranges"])) == (0, 0, 2)


@pytest.mark.parametrize("audio", ["aac", "opus", None])
async def test_follows_a_change_of_size_and_sound(audio: Audio) -> None:
    """A new epoch with another picture size and the same, another, or no sound plays on without a reload."""
    async with stage() as on:
        await on.settle()
        await on.publisher.stop()
        await on.publisher.start(make_clip(320, 240, audio))
        await on.browser.wait_for_player("video.videoWidth === 320 && video.videoHeight === 240")
        await on.settle()
        stats = await on.browser.player()
        assert stats["recoveries"] == 0


async def test_jumps_over_lost_chunks() -> None:
    """Chunks that never come leave a hole: it is counted and jumped over."""
    async with stage() as on:
        await on.settle()
        lost = 0

        def lose(chunk: Chunk) -> bool:
            nonlocal lost
            lost += chunk.id.track == 1 and lost < 3
            return chunk.id.track != 1 or lost >= 3

        on.server.filter = lose
        await on.browser.wait_for_player("stats.gaps === 1")
        await on.settle()
        measured = await on.browser.measure_rate(2)
        assert measured.rate == pytest.approx(1.0, abs=0.1)


async def test_comes_back_from_media_that_cannot_be_decoded() -> None:
    """Broken bytes make the browser give up: the player begins anew at live."""
    async with stage() as on:
        await on.settle()
        await on.browser.page.evaluate(_BREAK)
        await on.browser.wait_for_player("stats.recoveries === 1")
        await on.settle()


async def test_makes_room_when_the_browser_has_no_more() -> None:
    """Where the browser's quota is reached, what was played goes and playing goes on."""
    async with stage(script=_FULL) as on:
        await on.settle()
        await on.browser.wait_for_player("globalThis.refused === 1 && video.currentTime > 14")
        await on.settle()
        assert (await on.browser.player())["recoveries"] == 0


async def test_is_at_live_again_after_the_page_was_frozen() -> None:
    """A page that the browser froze for some seconds, as it does to tabs in the background, returns to live."""
    async with stage() as on:
        await on.settle()
        browser = await on.browser.page.context.new_cdp_session(on.browser.page)
        await browser.send("Page.setWebLifecycleState", {"state": "frozen"})
        await asyncio.sleep(4)
        await browser.send("Page.setWebLifecycleState", {"state": "active"})
        await on.settle()
        assert (await on.browser.player())["recoveries"] == 0


async def test_uses_a_managed_media_source_where_there_is_one() -> None:
    """Where the browser has ManagedMediaSource, as Safari does, that is what plays."""
    async with stage(script=_MANAGED) as on:
        await on.settle()
        assert await on.browser.page.evaluate("ManagedMediaSource.made") == 1
        assert await on.browser.page.evaluate("document.querySelector('headrace-player').video.disableRemotePlayback")


async def test_says_so_where_there_is_no_media_source() -> None:
    """A browser without Media Source Extensions is told in a sentence, and no connection is made."""
    async with stage(script="delete globalThis.MediaSource; delete globalThis.ManagedMediaSource") as on:
        stats = await on.browser.wait_for_player("stats.state === 'failed'")
        assert "Media Source Extensions" in stats["reason"]
        assert on.server.plays == []


async def test_plays_muted_where_the_browser_wants_a_click_for_sound() -> None:
    """Sound that the browser does not let start is left out: the picture plays, muted."""
    async with stage(script=_CLICK_FOR_SOUND) as on:
        await on.settle()
        await on.browser.page.evaluate("document.querySelector('headrace-player').muted = false")
        await on.browser.page.evaluate("document.querySelector('headrace-player').src += '?again'")
        await on.browser.wait_for_player("stats.edge !== '' && player.muted")
        await on.settle()


async def test_pauses_and_resumes_at_live() -> None:
    """While paused nothing is received; resuming goes on at live."""
    async with stage() as on:
        await on.settle()
        await on.browser.page.locator("headrace-player button.play").click()
        await on.browser.wait_for_player("stats.state === 'paused' && video.paused")
        await wait_until(lambda: on.server.viewers == 0, 5)
        await on.browser.page.locator("headrace-player button.play").click()
        await on.settle()


async def test_shows_nothing_without_a_source() -> None:
    """Without `src` the picture and the memory of its media are gone; another `src` is played."""
    async with stage() as on:
        await on.settle()
        await on.browser.page.evaluate("document.querySelector('headrace-player').removeAttribute('src')")
        await on.browser.wait_for_player("stats.state === 'idle' && video.buffered.length === 0", timeout=5)
        assert (await on.browser.player())["videoWidth"] == 0
        await on.browser.page.evaluate("document.querySelector('headrace-player').src = '/play/test'")
        await on.settle()


async def test_tells_pages_how_it_goes() -> None:
    """State and statistics come as events, statistics cannot be changed, and keys work."""
    async with stage(script=_EVENTS) as on:
        await on.settle()
        await on.browser.page.wait_for_function("globalThis.told.stats.length > 1")
        told = await on.browser.page.evaluate("globalThis.told")
        states = [event["state"] for event in told["states"]]
        assert (states[0], states[-1]) == ("connecting", "live")
        assert told["stats"][-1]["edge"] == "edge-1"
        assert await on.browser.page.evaluate("Object.isFrozen(document.querySelector('headrace-player').stats)")
        player = on.browser.page.locator("headrace-player")
        await player.press("m")
        await on.browser.wait_for_player("!player.muted")
        await player.press("i")
        await on.browser.wait_for_player("player.hasAttribute('stats')")
        assert "dropped frames" in await on.browser.page.locator("headrace-player dl").inner_text()
        await player.press("k")
        await on.browser.wait_for_player("stats.state === 'paused'")


async def test_sound_is_one_click_away() -> None:
    """The player begins muted; the unmute button gives sound and goes."""
    async with stage() as on:
        await on.settle()
        unmute = on.browser.page.locator("headrace-player button.unmute")
        await unmute.click()
        await on.browser.wait_for_player("!player.muted && !video.paused")
        assert await unmute.is_visible() is False


async def test_tells_what_it_cannot_play() -> None:
    """A codec that the browser does not have is named, and the connection is let go."""
    async with stage() as on:
        clip = make_clip()
        strange = type(clip.tracks[0])(
            track=1, kind="video", codec="hvc1.1.6.L93.B0", timescale=90_000, header=clip.tracks[0].header
        )
        await on.settle()
        await on.publisher.stop()
        on.publisher.broadcast.open(_later(on.publisher.broadcast), (strange,))
        on.publisher.broadcast.set_state(StreamState.LIVE, "again")
        stats = await on.browser.wait_for_player("stats.state === 'failed'")
        assert stats["reason"] == "This browser does not play the stream's video (hvc1.1.6.L93.B0)."


async def test_says_when_the_stream_has_ended() -> None:
    """An ended stream plays to its end and says so; should it begin again, it plays again."""
    async with stage() as on:
        await on.settle()
        await on.publisher.stop()
        on.publisher.broadcast.set_state(StreamState.ENDED, "the match is over")
        stats = await on.browser.wait_for_player("stats.state === 'ended' && video.ended")
        assert stats["reason"] == "the match is over"
        await on.publisher.start(make_clip())  # and yet it begins again
        await on.settle()


def _later(broadcast: Broadcast) -> Epoch:
    return Epoch(broadcast.epoch + 1)


_MANAGED = """globalThis.ManagedMediaSource = class extends MediaSource {
  static made = 0;
  constructor() { super(); ManagedMediaSource.made += 1; }
}"""

_CLICK_FOR_SOUND = """const { play } = HTMLMediaElement.prototype;
HTMLMediaElement.prototype.play = function () {
  return this.muted ? play.call(this) : Promise.reject(new DOMException('a click is wanted', 'NotAllowedError'));
};"""

_EVENTS = """globalThis.told = { states: [], stats: [] };
addEventListener('headrace-state', ({ detail }) => told.states.push(detail));
addEventListener('headrace-stats', ({ detail }) => told.stats.push(detail));"""

_FULL = """globalThis.refused = 0;
const { appendBuffer } = SourceBuffer.prototype;
let appended = 0;
SourceBuffer.prototype.appendBuffer = function (bytes) {
  appended += 1;
  if (appended === 60) {
    globalThis.refused += 1;
    throw new DOMException('no room', 'QuotaExceededError');
  }
  return appendBuffer.call(this, bytes);
};"""

_BREAK = """() => {
  const { _playback } = document.querySelector('headrace-player')._player;
  const [buffer] = _playback._buffer._buffers.values();
  buffer.append(new Uint8Array(64).fill(255));
}"""
