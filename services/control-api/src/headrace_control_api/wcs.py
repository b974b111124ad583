"""The face of Flashphoner WCS: `/rest-api/stream/…` for scripts and pages that know it, with its shapes.

Both GET and POST are taken, as its client sends GET where there is no body. What is not known in a filter is ignored.
What has no meaning without WebRTC sessions (`sdp`, `sessionId`, `transport`) is empty.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, ValidationError

from headrace.registry.records import StreamRecord, TrackSummary
from headrace.registry.registry import Registry
from headrace.registry.transfers import session_id
from headrace_control_api.transfers import Engine
from headrace_control_api.wcs_answers import PREFIX, first_fault, wcs_error, wcs_json
from headrace_control_api.wcs_transfers import end_route, transfer_routes

_STATUSES = {"live": "PUBLISHING", "interrupted": "PENDING", "ended": "UNPUBLISHED"}

_CODECS = {"avc1": "H264", "avc3": "H264", "hvc1": "H265", "hev1": "H265", "mp4a": "mpeg4-generic", "opus": "opus"}
"""WCS's names of codecs, which are SDP's, by the first part of ours."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Filter(BaseModel):
    """Which streams; absent members take all."""

    model_config = ConfigDict(extra="ignore", strict=True)

    mediaSessionId: str | None = None
    name: str | None = None
    published: bool | None = None
    status: str | None = None


def wcs_routes(registry: Registry, engine: Engine, may_not_write: Callable[[web.Request], str]) -> list[web.RouteDef]:
    """Return the routes, which answer from what `registry` knows.

    `may_not_write` says why a request may change nothing; it returns nothing when it may.
    """

    async def find(request: web.Request) -> web.StreamResponse:
        try:
            wanted = await _read_filter(request)
        except ValidationError as error:
            return wcs_error(request, 400, first_fault(error))
        found = find_streams(registry.streams.values(), wanted)
        if not found:
            return wcs_error(request, 404, "Can not find streams that match the request")
        return wcs_json(found)

    return [
        *(
            web.route(method, f"{PREFIX}/stream/{name}", find)
            for name in ("find_all", "find")
            for method in (hdrs.METH_GET, hdrs.METH_POST)
        ),
        *transfer_routes(PREFIX, engine, may_not_write),
        end_route(PREFIX, registry, describe, may_not_write),
    ]


def find_streams(records: Iterable[StreamRecord], wanted: Filter) -> list[dict[str, Any]]:
    """Return the streams that are published now and match, by name, as WCS describes them."""
    found = (
        describe(record) for record in sorted(records, key=lambda record: record.stream) if record.state != "ended"
    )
    return [
        stream
        for stream in found
        if wanted.mediaSessionId in (None, stream["mediaSessionId"])
        and wanted.name in (None, stream["name"])
        and wanted.published in (None, stream["published"])
        and wanted.status in (None, stream["status"])
    ]


def describe(record: StreamRecord) -> dict[str, Any]:
    """Return a stream as WCS describes one that is published.

    The session's id is made of the publication: the same everywhere, another for each epoch.
    """
    video = next((track for track in record.tracks if track.kind == "video"), None)
    audio = next((track for track in record.tracks if track.kind == "audio"), None)
    return {
        "appKey": "defaultApp",
        "sessionId": "",
        "mediaSessionId": session_id(record.stream, record.epoch),
        "name": record.stream,
        "published": True,
        "hasVideo": video is not None,
        "hasAudio": audio is not None,
        "status": _STATUSES[record.state],
        "sdp": "",
        "videoCodec": _codec(video),
        "audioCodec": _codec(audio),
        "record": False,
        "width": video.width if video else 0,
        "height": video.height if video else 0,
        "bitrate": video.bandwidth if video else 0,
        "transport": "",
        "cvoExtension": False,
        "createDate": record.epoch,
        "mediaType": "publish",
        "mediaProvider": "Headrace",
    }


async def _read_filter(request: web.Request) -> Filter:
    """Return what the body asks for; without one, everything.

    Raises:
        ValidationError: when it is no JSON object, or a member has the wrong type.
    """
    body = await request.read()
    return Filter.model_validate_json(body) if body.strip() else Filter()


def _codec(track: TrackSummary | None) -> str:
    if track is None:
        return ""
    name = track.codec.partition(".")[0]
    return _CODECS.get(name.lower(), name)
