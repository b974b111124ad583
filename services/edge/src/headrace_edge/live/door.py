"""The handlers below `/live/`."""

from __future__ import annotations

import math
from collections.abc import Callable

from aiohttp import hdrs, web

from headrace.http.application import ANY_ORIGIN
from headrace.identifiers import StreamName
from headrace.media.playlists import date_time
from headrace.media.segments import Segment, media_bytes
from headrace_edge.live.answers import (
    NO_STORE,
    answer_conditions,
    answer_media,
    answer_text,
    media_headers,
    refuse,
    takes_gzip,
)
from headrace_edge.live.outlet import Outlet
from headrace_edge.live.outlets import Client, Outlets
from headrace_edge.live.paths import Header, Index, Manifest, Media, Playlist, Resource, Time, Timed, parse_path
from headrace_edge.live.quick import QuickWay
from headrace_edge.live.reach import BadQuery, check_reach, directives, may_come, may_come_at
from headrace_edge.live.ready import Answer, answer_head, is_plain_query
from headrace_edge.live.waiting import Busy, whose

PLAYLIST_CACHE_SECONDS = 1
"""How long caches may give out a playlist that was asked for without a part: two parts."""

BLOCKING_CACHE_SECONDS = 30
"""How long caches may give out a playlist that ends with what was asked for: it says nothing that becomes wrong, and
who asks for the same later is late anyway."""

LATE_SECONDS = 1.0
"""How much media there may be after what is asked for by who is in time: two parts, the time of a slow link. Who is
later wants the newest, and would fall behind if it had to ask for one part after the other."""

INDEX_CACHE_SECONDS = 2
"""How long caches may give out the multivariant playlist: it changes with an epoch."""

_KINDS: dict[type[Resource], str] = {
    Index: "index",
    Playlist: "playlist",
    Manifest: "manifest",
    Header: "header",
    Media: "segment",
    Timed: "segment",
    Time: "time",
}


UNGATHERED = "X-Accel-Buffering"
"""By `no`, nginx is told to pass on each piece as it comes."""

_KEEP = web.RequestKey("live answer to keep", Answer)


class LiveDoor:
    """Answers HLS and DASH requests.

    Args:
        outlets: the streams.
        is_public: whether anybody may have a stream: what is asked of each request is not asked on the quick way.
    """

    def __init__(self, outlets: Outlets, is_public: Callable[[StreamName], bool] = lambda _: True) -> None:
        self._outlets = outlets
        self._options = outlets.options
        self._is_public = is_public
        self._quick = QuickWay(outlets.shelf, outlets.clock)

    def add_to(self, app: web.Application) -> None:
        """Add the routes; after everything else that is told of responses, since those are kept as they leave."""
        app.add_routes(self.routes())
        app.on_response_prepare.append(self._keep)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [web.get("/live/{path:.+}", self._handle), web.options("/live/{path:.+}", self._tell_methods)]

    async def _tell_methods(self, request: web.Request) -> web.Response:
        return web.Response(status=204, headers={hdrs.ALLOW: "GET, HEAD, OPTIONS"})

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        client = Client(whose(request), self._quick.open(request))
        parsed = parse_path(request.match_info["path"])
        kind = "other"
        try:
            if parsed is None:
                response: web.StreamResponse = refuse(404, "no stream, playlist or segment has this name")
            else:
                name, resource = parsed
                kind = "part" if isinstance(resource, Media) and resource.part is not None else _KINDS[type(resource)]
                response = await self._answer(request, client, name, resource)
        except Busy as error:
            response = refuse(error.status, str(error), retry_seconds=2)
        except BadQuery as error:
            response = refuse(400, str(error))
        self._outlets.metrics.requests.labels(kind, f"{response.status}").inc()
        if parsed is not None and not response.prepared and self._is_public(parsed[0]):
            self._offer(request, response, parsed[0], kind)
        return response

    def _offer(self, request: web.Request, response: web.StreamResponse, name: StreamName, kind: str) -> None:
        """Mark what others will ask for as well, to be kept as it leaves."""
        outlet = self._outlets.opened(name)
        caching = response.headers.get(hdrs.CACHE_CONTROL, "")
        body = getattr(response, "body", None)
        if request.method != hdrs.METH_GET or response.status != 200 or outlet is None or not isinstance(body, bytes):
            return
        if caching.startswith("public") and is_plain_query(request.query_string):
            metrics, is_media = self._outlets.metrics, kind in {"segment", "part", "header"}
            request[_KEEP] = Answer(
                outlet,
                None if is_media else outlet.turns,
                b"",
                body,
                metrics.requests.labels(kind, "200"),
                metrics.sent_bytes if is_media else None,
            )

    async def _keep(self, request: web.Request, response: web.StreamResponse) -> None:
        answer = request.get(_KEEP)
        if answer is None or hdrs.CONNECTION in response.headers:
            return
        answer.head = answer_head("HTTP/1.1 200 OK", response.headers.items())
        gzip = answer.turn is not None and takes_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
        packed, plain = answer.turn is None or gzip, answer.turn is None or not gzip
        self._outlets.shelf.put(request.raw_path.encode(), answer, plain=plain, packed=packed)

    async def _answer(
        self, request: web.Request, client: Client, name: StreamName, resource: Resource
    ) -> web.StreamResponse:
        if isinstance(resource, Time):
            return self._time()
        outlet = self._outlets.get(name)
        if outlet is None:
            return refuse(404, f"nobody publishes {name}")
        if not await self._outlets.wait(client, outlet, "known", lambda: outlet.is_known, self._options.cold_seconds):
            return refuse(503, f"{name} has no media yet", retry_seconds=2)
        match resource:
            case Index():
                start = self._start(request)
                return answer_text(request, outlet.index(start), f"public, max-age={INDEX_CACHE_SECONDS}")
            case Manifest():
                return self._manifest(request, outlet)
            case Playlist(track):
                return await self._playlist(request, client, outlet, track)
            case Header(epoch, track):
                return self._header(request, outlet, epoch, track)
            case Media(part=None):
                return await self._segment(request, client, outlet, resource)
            case Timed():
                return await self._timed(request, client, outlet, resource)
            case _:
                return await self._part(request, client, outlet, resource)

    # -- texts -----------------------------------------------------------------------------------------------------

    def _time(self) -> web.Response:
        now = date_time(round(self._outlets.clock.utc() * 1_000_000))
        return web.Response(text=now, headers={hdrs.CACHE_CONTROL: NO_STORE})

    def _start(self, request: web.Request) -> float | None:
        """Return `start` of the query in seconds behind live, inside the window.

        Raises:
            BadQuery: when it is no number.
        """
        text = request.query.get("start")
        if text is None:
            return None
        try:
            value = abs(float(text))
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise BadQuery("start is a number of seconds behind live, for example start=-30")
        return min(round(value, 1), self._options.window.seconds) or None

    def _manifest(self, request: web.Request, outlet: Outlet) -> web.Response:
        text = outlet.manifest(self._start(request))
        if text is None:
            return refuse(503, "there is no media yet", retry_seconds=2)
        return answer_text(request, text, f"public, max-age={PLAYLIST_CACHE_SECONDS}")

    async def _playlist(self, request: web.Request, client: Client, outlet: Outlet, number: int) -> web.Response:
        window = outlet.window.windows.get(number)
        if window is None:
            return refuse(404, f"there is no track {number}")
        wanted = directives(request.query)
        skip = request.query.get("_HLS_skip") in {"YES", "v2"}
        caching = f"public, max-age={PLAYLIST_CACHE_SECONDS}"
        end: Segment | None = None
        if wanted is not None and not outlet.window.ended:
            check_reach(window, *wanted)
            waits = not window.has(*wanted)
            came = await self._outlets.wait(
                client,
                outlet,
                ("playlist", number, *wanted),
                lambda: window.has(*wanted) or outlet.window.ended,
                self._options.hold_seconds,
            )
            last = window.end_with(*wanted)
            if last is not None and (waits or window.seconds_after(last) <= LATE_SECONDS):
                caching = f"public, max-age={BLOCKING_CACHE_SECONDS}"
                end = last
            elif not came and outlet.is_late:
                return refuse(503, f"segment {wanted[0]} is late", retry_seconds=1)
            elif not came:
                # Who waits for a camera that is away shall go on waiting and not give up, as players do after some
                # errors (hls.js after three): it gets the playlist as it is.
                caching = NO_STORE
        text = outlet.playlist(window, skip=skip, last=end)
        if text is None:
            return refuse(503, f"track {number} has no media yet", retry_seconds=2)
        return answer_text(request, text, caching)

    # -- media -----------------------------------------------------------------------------------------------------

    def _header(self, request: web.Request, outlet: Outlet, epoch: int, track: int) -> web.Response:
        header = outlet.window.header(epoch, track)
        if header is None:
            return refuse(404, f"there is no track {track} in epoch {epoch}")
        return answer_media(request, header, f'"{epoch}-{track}"', _content_type(outlet, track))

    async def _part(self, request: web.Request, client: Client, outlet: Outlet, media: Media) -> web.Response:
        assert media.part is not None
        part, window = media.part, outlet.window

        def settled() -> bool:
            segment = window.segment(media.epoch, media.track, media.segment)
            return (segment is not None and (segment.closed or segment.parts_complete > part)) or (
                window.epoch > media.epoch or window.ended
            )

        if may_come(outlet, media):
            key = ("part", media.epoch, media.track, media.segment, part)
            await self._outlets.wait(client, outlet, key, settled, self._options.hold_seconds)
        segment = await self._held(client, outlet, media)
        if segment is None or segment.parts_complete <= part:
            return refuse(404, f"there is no part {part} of segment {media.segment}")
        etag = f'"{media.epoch}-{media.track}-{media.segment}.{part}"'
        return self._media(request, outlet, outlet.body(segment, part), etag, media.track)

    async def _segment(self, request: web.Request, client: Client, outlet: Outlet, media: Media) -> web.StreamResponse:
        window = outlet.window

        def begun() -> bool:
            segment = window.segment(media.epoch, media.track, media.segment)
            return (segment is not None and bool(segment.parts or segment.closed)) or (
                window.epoch > media.epoch or window.ended
            )

        if may_come(outlet, media):
            key = ("segment", media.epoch, media.track, media.segment)
            await self._outlets.wait(client, outlet, key, begun, self._options.hold_seconds)
        segment = await self._held(client, outlet, media)
        if segment is None or segment.lost or not segment.parts:
            return refuse(404, f"there is no segment {media.segment}")
        etag = f'"{media.epoch}-{media.track}-{media.segment}"'
        if not segment.closed:
            return await self._follow(request, client, outlet, segment, etag)
        return self._media(request, outlet, outlet.body(segment, None), etag, media.track)

    async def _timed(self, request: web.Request, client: Client, outlet: Outlet, timed: Timed) -> web.StreamResponse:
        """Answer with the segment that begins at a time; where none does, lead to the one that begins next.

        Who reckons by what it was told of a segment that was being made, as FFmpeg does, comes a little early.
        """
        found = await self._found(client, outlet, timed)
        if found is None:
            return refuse(404, f"no segment of track {timed.track} begins at {timed.time}")
        if found.start != timed.time:
            there = {hdrs.LOCATION: f"t{found.start}.m4s", hdrs.CACHE_CONTROL: NO_STORE}
            return web.Response(status=302, headers=there)
        return await self._segment(request, client, outlet, Media(found.epoch, timed.track, found.number))

    async def _found(self, client: Client, outlet: Outlet, timed: Timed) -> Segment | None:
        """Return the segment that begins at a time or first after it, once there is one."""
        window = outlet.window.windows.get(timed.track)
        if window is None or not window.reaches_back_to(timed.time):
            return None
        following = window.after(timed.time, lost=True)
        if window.at(timed.time) is None and following is not None and following.lost:
            await self._held(client, outlet, Media(following.epoch, timed.track, following.number))
        if may_come_at(outlet, timed):
            key = ("time", timed.track, timed.time)
            await self._outlets.wait(
                client, outlet, key, lambda: window.after(timed.time - 1) is not None, self._options.hold_seconds
            )
        return window.at(timed.time) or window.after(timed.time)

    async def _held(self, client: Client, outlet: Outlet, media: Media) -> Segment | None:
        """Return the segment as it is held; one that is listed and was lost here is asked of the parent first."""
        segment = outlet.window.segment(media.epoch, media.track, media.segment)
        if segment is not None and outlet.mend(segment):
            seconds = self._options.hold_seconds
            await self._outlets.wait(client, outlet, "mending", lambda: not outlet.is_mending, seconds)
            segment = outlet.window.segment(media.epoch, media.track, media.segment)
        return segment

    def _media(self, request: web.Request, outlet: Outlet, body: bytes, etag: str, track: int) -> web.Response:
        response = answer_media(request, body, etag, _content_type(outlet, track))
        if request.method == hdrs.METH_GET and isinstance(response.body, bytes | bytearray):
            self._outlets.metrics.sent_bytes.inc(len(response.body))
        return response

    async def _follow(
        self, request: web.Request, client: Client, outlet: Outlet, segment: Segment, etag: str
    ) -> web.StreamResponse:
        """Send a segment that is being made, each chunk as it comes (CMAF low latency by chunked transfer).

        A segment that turns out to be incomplete, or does not go on, ends with the connection and not with the
        message, so that nobody takes it for whole. nginx is told not to gather it, and so does not keep it either:
        who asks next gets it whole, or follows it too.
        """
        headers = media_headers(etag, _content_type(outlet, segment.track.track))
        del headers[hdrs.ACCEPT_RANGES]
        headers[UNGATHERED] = "no"
        if early := answer_conditions(request, etag, headers):
            return early
        response = web.StreamResponse(headers={**headers, **ANY_ORIGIN})
        if request.version < (1, 1):
            response.force_close()
        await response.prepare(request)
        if request.method == hdrs.METH_HEAD:
            return response
        number, sent = segment.track.track, 0
        window = outlet.window.windows.get(number)
        while window is not None:
            chunks = segment.chunks()[sent:]
            if chunks:
                sent += len(chunks)
                data = media_bytes(chunks)
                self._outlets.metrics.sent_bytes.inc(len(data))
                await response.write(data)
            elif segment.closed:
                break
            progress = window.progress
            if not segment.closed and not await self._outlets.wait(
                client,
                outlet,
                ("progress", number, progress),
                lambda: window.progress != progress,  # noqa: B023 - awaited before it changes
                self._options.hold_seconds,
            ):
                break
        if segment.closed and not segment.lost and sent == len(segment.chunks()):
            await response.write_eof()
        elif request.transport is not None:
            request.transport.abort()
        return response


def _content_type(outlet: Outlet, track: int) -> str:
    described = outlet.window.tracks.get(track)
    return "audio/mp4" if described is not None and described.kind == "audio" else "video/mp4"
