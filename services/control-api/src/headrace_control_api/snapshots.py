"""A picture of a stream, on both faces: `/api/v1/streams/{name}/snapshot` and WCS's `/rest-api/stream/snapshot`."""

from __future__ import annotations

import base64
from typing import Annotated

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.http.operations import Api, Call, Nothing
from headrace.http.problems import Problem
from headrace.identifiers import InvalidName, StreamName, stream_name
from headrace.registry.registry import Registry
from headrace_control_api.models import StreamPath
from headrace_control_api.pictures import NoPicture, PictureQuery, Pictures, check_pictured
from headrace_control_api.wcs_answers import first_fault, wcs_error, wcs_json

KEPT = "private, max-age=1"


def add_snapshots(api: Api, registry: Registry, pictures: Pictures | None) -> None:
    """Add the operation."""

    @api.operation(
        "GET",
        "/streams/{name}/snapshot",
        tag="streams",
        path_model=StreamPath,
        query=PictureQuery,
        media_type="image/*",
        problems={
            404: "There is no such stream, or it has no picture.",
            503: "No edge can take a picture now.",
        },
    )
    async def take_snapshot(call: Call[StreamPath, PictureQuery, Nothing]) -> web.StreamResponse:
        """Take a picture of a stream, as JPEG or PNG.

        It is the stream's newest picture that decoding can begin with, at most a segment old, taken by an edge at most
        a second ago.
        """
        name = StreamName(call.path.name)
        record = registry.streams.get(name)
        if record is None:
            raise Problem(404, f"There is no stream {name}.")
        try:
            check_pictured(record)
            if pictures is None:
                raise NoPicture(503, "This control API takes no pictures.")
            body = await pictures.take(name, call.query.format, call.query.width)
        except NoPicture as error:
            headers: dict[str, str] = {hdrs.RETRY_AFTER: "1"} if error.status == 503 else {}
            raise Problem(error.status, str(error), headers=headers) from None
        return web.Response(body=body, content_type=f"image/{call.query.format}", headers={hdrs.CACHE_CONTROL: KEPT})


class _SnapshotOf(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    streamName: Annotated[str, Field(min_length=1)]


def snapshot_route(prefix: str, registry: Registry, pictures: Pictures | None) -> web.RouteDef:
    """Return WCS's call: `streamName` in, `data` with the PNG in base64 out."""

    async def snapshot(request: web.Request) -> web.StreamResponse:
        try:
            name = stream_name(_SnapshotOf.model_validate_json(await request.read()).streamName)
        except ValidationError as error:
            return wcs_error(request, 400, first_fault(error))
        except InvalidName as error:
            return wcs_error(request, 400, f"streamName: {error}")
        record = registry.streams.get(name)
        if record is None:
            return wcs_error(request, 404, "Stream not found")
        try:
            check_pictured(record)
            if pictures is None:
                raise NoPicture(503, "This control API takes no pictures.")
            body = await pictures.take(name, "png", None)
        except NoPicture as error:
            return wcs_error(request, error.status, str(error))
        return wcs_json({"data": base64.b64encode(body).decode()})

    return web.post(f"{prefix}/stream/snapshot", snapshot)
