"""An hour of a stream, sped up, through real nodes, with everything that its edges say of it.

The stream's own clock is its decode times, so an hour takes minutes: samples are made up, cut by the real packager and
published in steps. An ingress, an intermediate and two edges carry it; now and then a cold edge takes the place of one.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

from headrace.http.request_ids import REQUEST_ID
from headrace.relay.broadcast import Opened, StateChange
from headrace.relay.window import Window
from headrace.wire.chunk import Chunk
from headrace.wire.stream import StreamState
from integration.edge.chain import Chain, EdgeNode
from integration.live.publishing import publish
from unit.live.m3u8 import Playlist, read
from unit.live.streams import Programme, audio, video

Entry = Opened | Chunk | StateChange

HELD_SECONDS = 72.0
"""What every node holds whole: `ring.seconds` less the way from the ingress, which is steps of some seconds here."""

SAME_SECONDS = 10.0
"""Longest wait for two edges to have the same chunks; they have them within milliseconds."""


@dataclass
class Hour:
    """What was seen.

    Attributes:
        playlists: every different media and multivariant playlist, in order.
        manifests: every different MPD, in order.
        counts: answers compared, by kind; `cold` edges, `epochs`, `gaps` and `ends`.
        differences: what was not the same at two edges; nothing, if all is well.
    """

    playlists: dict[str, None] = field(default_factory=dict)
    manifests: dict[str, None] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)
    cuts: dict[object, str] = field(default_factory=dict)

    def compare(self, kind: str, place: object, told: str) -> None:
        """Note what an edge told of `place`; it must be what any edge told of it before."""
        self.counts[kind] += 1
        if self.cuts.setdefault((kind, place), told) != told:
            self.differences.append(f"{kind} {place}")


def programme(seconds: float, seed: int) -> Iterator[tuple[float, list[Entry]]]:
    """Yield steps of a stream: seconds of media, and the entries that come in them.

    Epochs of every kind, with their gaps: lost chunks, lost segments, pictures left out, numbers that a publisher that
    died may have given out, what it left open, an epoch that it told and never began, sound alone, an end and a new
    beginning.
    """
    rng, deaths = random.Random(seed), random.Random(seed + 1)
    made = Programme()
    left = seconds
    while left > 0:
        length = min(left, rng.choice([rng.uniform(1, 15), rng.uniform(30, 200)]))
        left -= length
        rate = rng.choice([25.0, 25.0, 50.0, 30000 / 1001, 12.5])
        tracks = rng.choice([(video(rate), audio()), (video(rate), audio()), (video(rate), audio(), audio(3, "de"))])
        if rng.random() < 0.1:
            tracks = (audio(),)
        hole = rng.randrange(100, 5000)
        entries = made.epoch(
            length,
            gop=rng.choice([25, 50, 60, 90]),
            frame_rate=rate,
            tracks=tracks,
            leave_out=range(hole, hole + rng.choice([0, 0, 20, 60])),
        )
        if deaths.random() < 0.3:
            del entries[-deaths.randrange(1, 40) :]
            made.segment += 1
            made.epochs += deaths.random() < 0.3
        yield from _steps(rng, list(_with_losses(rng, entries)))
        if rng.random() < 0.2:
            yield 0.0, [StateChange(StreamState.ENDED, "over")]
        elif rng.random() < 0.3:
            yield 0.0, [StateChange(StreamState.INTERRUPTED, "away")]
        if rng.random() < 0.3:
            made.segment += rng.randrange(1, 5)


def _with_losses(rng: random.Random, entries: list[Opened | Chunk]) -> Iterator[Opened | Chunk]:
    lost_segments = {rng.randrange(100, 3000) for _ in range(20)}
    for entry in entries:
        if isinstance(entry, Chunk) and (entry.id.segment in lost_segments or rng.random() < 0.0005):
            continue
        yield entry


def _steps(rng: random.Random, entries: list[Opened | Chunk]) -> Iterator[tuple[float, list[Entry]]]:
    """Divide the entries of an epoch into steps of up to some seconds."""
    step: list[Entry] = []
    begin: float | None = None
    length = rng.uniform(0.2, 5.0)
    scales: dict[int, int] = {}
    for entry in entries:
        step.append(entry)
        if isinstance(entry, Opened):
            scales = {track.track: track.timescale for track in entry.tracks}
            continue
        time = entry.decode_time / scales[entry.id.track]
        begin = time if begin is None else begin
        if time - begin > length:
            yield time - begin, step
            step, begin, length = [], time, rng.uniform(0.2, 5.0)
    if step:
        yield 0.0, step


class Watcher:
    """Publishes steps and asks two edges about each."""

    def __init__(self, chain: Chain, http: aiohttp.ClientSession, seed: int) -> None:
        self.hour = Hour()
        self._chain = chain
        self._http = http
        self._rng = random.Random(seed)
        self._reference = Window()
        self._edges: list[EdgeNode] = []
        self._names = itertools.count(1)
        self._seen: set[str] = set()

    async def watch(self, seconds: float) -> Hour:
        """Let `seconds` of media pass."""
        until_cold = 0.0
        for length, entries in programme(seconds, self._rng.randrange(1000)):
            self._publish(entries)
            if len(self._edges) < 2:
                self._edges.append(await self._edge())
            await self._look()
            until_cold += length
            if until_cold > 200:
                until_cold = 0.0
                await self._replace()
        return self.hour

    async def _edge(self) -> EdgeNode:
        return await self._chain.edge(f"edge-{next(self._names)}")

    async def _replace(self) -> None:
        gone = self._edges.pop(self._rng.randrange(len(self._edges)))
        await gone.stop()
        self._edges.append(await self._edge())
        self.hour.counts["cold"] += 1

    def _publish(self, entries: list[Entry]) -> None:
        for entry in entries:
            self._reference.take(entry)
            if isinstance(entry, StateChange):
                self._chain.hub.streams[self._chain.stream].set_state(entry.state, entry.reason)
                self.hour.counts["ends"] += entry.state is StreamState.ENDED
            else:
                publish(self._chain, [entry])
                if isinstance(entry, Opened):
                    self.hour.counts["epochs"] += 1
                    self._reference.take(StateChange(StreamState.LIVE, ""))

    # -- asking ----------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Ask every edge for every text until all have what was published, then for all media that are new."""
        newest: dict[int, Playlist] = {}
        for number, window in self._reference.windows.items():
            if window.listed(60.0):
                newest[number] = await self._same_playlist(number)
        if not newest:
            return
        for name in ("index.m3u8", "manifest.mpd", "manifest.mpd?start=-20"):
            await self._same_text(name)
        for number, playlist in newest.items():
            await self._same_media(number, playlist)

    async def _same_playlist(self, number: int) -> Playlist:
        """Ask for the playlist of a track as players do; on the way to the newest each cut is compared as well."""
        segment, parts = self._reference.windows[number].head
        for edge in self._edges:
            queries = ["", "?_HLS_skip=YES"]
            if parts > 0:
                queries = [f"?_HLS_msn={segment}&_HLS_part={parts - 1}", *queries]
            for query in queries:
                text = await self._text(edge, f"{number}.m3u8{query}")
                self._note_playlist(number, text, "#EXT-X-SKIP" in text)
        texts = await self._same_text(f"{number}.m3u8")
        return read(texts)

    def _note_playlist(self, number: int, text: str, is_delta: bool) -> None:
        playlist = read(text)
        last = playlist.segments[-1]
        cut = (number, is_delta, *playlist.last, last.uri, playlist.ended, "CAN-BLOCK" in text)
        self.hour.compare("playlist", cut, _hash(text.encode()))
        self.hour.playlists[text] = None

    async def _same_text(self, name: str) -> str:
        """Ask all edges until they say the same."""
        async with asyncio.timeout(SAME_SECONDS):
            while True:
                texts = [await self._text(edge, name) for edge in self._edges]
                if len(set(texts)) == 1 and self._is_new(name, texts[0]):
                    break
                await asyncio.sleep(0.005)
        self.hour.counts[f"same {name.rpartition('.')[2].partition('?')[0]}"] += 1
        (self.hour.manifests if "mpd" in name else self.hour.playlists)[texts[0]] = None
        return texts[0]

    def _is_new(self, name: str, text: str) -> bool:
        """Return whether a text has the end of what was published."""
        if "mpd" in name:
            return ("minimumUpdatePeriod" not in text) == self._reference.ended
        number = name.partition(".")[0]
        if not number.isdigit():
            return True
        window = self._reference.windows[int(number)]
        playlist = read(text)
        listed = window.listed(60.0)[-1]
        told = (playlist.segments[-1].number, bool(playlist.segments[-1].uri), playlist.ended)
        parts = len(playlist.segments[-1].parts)
        if told != (listed.number, listed.closed, self._reference.ended):
            return False
        return listed.closed or parts == listed.parts_listed

    async def _same_media(self, number: int, playlist: Playlist) -> None:
        """Ask both edges for what was not asked for yet, and for a segment of all that an edge may have begun with."""
        held = self._reference.windows[number].segments.values()
        newest = max(one.newest.end_seconds for one in self._reference.windows.values() if one.newest)
        past = self._rng.choice([one for one in held if one.start_seconds > newest - HELD_SECONDS] or list(held)[-1:])
        wanted = [f"{past.epoch}/{number}/{past.number}.m4s"] if past.closed and not past.lost else []
        for segment in playlist.segments:
            addresses = [uri for uri, _ in segment.parts]
            if segment.uri and not segment.gap:
                addresses += [segment.uri, f"{segment.uri.rpartition('/')[0]}/header.mp4"]
            wanted += [address for address in addresses if address not in self._seen]
            self.hour.counts["gaps"] += segment.gap and segment.uri not in self._seen
            self._seen |= {*addresses, segment.uri or ""}
        for address in wanted:
            for edge in self._edges:
                await self._media(edge, address)

    async def _media(self, edge: EdgeNode, address: str) -> None:
        async with self._http.get(f"{edge.url}/live/demo/{address}") as answer:
            body = await answer.read()
            own = {"date", "connection", REQUEST_ID.lower()}
            headers = sorted(item for item in answer.headers.items() if item[0].lower() not in own)
            assert answer.status == 200, (address, answer.status, body)
        kind = "header" if "header" in address else "part" if address.count(".") == 2 else "segment"
        self.hour.compare(kind, address, _hash(body + repr(headers).encode()))

    async def _text(self, edge: EdgeNode, name: str) -> str:
        async with asyncio.timeout(SAME_SECONDS):
            while True:
                async with self._http.get(
                    f"{edge.url}/live/demo/{name}", headers={"Accept-Encoding": "gzip"}
                ) as answer:
                    text = await answer.text()
                # An hour in minutes: the edge may not have heard of what is asked for, which is refused as too far off.
                if answer.status != 400:
                    assert answer.status == 200, (name, answer.status, text)
                    return text
                await asyncio.sleep(0.005)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def run_hour(seconds: float, seed: int) -> Hour:
    """Let `seconds` of a stream pass through a small cluster, and return all that its edges said."""
    async with contextlib.AsyncExitStack() as stack:
        chain = Chain(stack, has_middle=True)
        await chain.start()
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
        return await Watcher(chain, http, seed).watch(seconds)
