"""The face of Flashphoner WCS for transfers: `/rest-api/pull/…`, `/rest-api/push/…` and the end of streams.

What WCS calls a pull is any transfer: `/pull/pull` fetches a stream from another server, `/pull/push` brings one there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from headrace.identifiers import StreamName
from headrace.registry.desired import DesiredKey, DesiredKind
from headrace.registry.leases import StoreAway
from headrace.registry.records import StreamRecord
from headrace.registry.registry import Registry
from headrace.registry.sealing import URI_MAX_CHARACTERS, SealError, Uri
from headrace.registry.transfers import Transfer
from headrace_control_api.transfers import Engine, NotCarried, Refused, Wanted
from headrace_control_api.wcs_answers import first_fault, wcs_error, wcs_json

NAME_MAX_CHARACTERS = 256
"""Longest name of a stream that is read; names of ours are shorter."""

IDS_MAX = 1000
"""Most session ids in one filter."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

_LENIENT = ConfigDict(extra="ignore", strict=True)


class PullRequest(BaseModel):
    """What is to be transferred."""

    model_config = _LENIENT

    uri: str = Field(min_length=1, max_length=URI_MAX_CHARACTERS)
    localStreamName: str = Field(min_length=1, max_length=NAME_MAX_CHARACTERS)
    remoteStreamName: str | None = Field(default=None, max_length=NAME_MAX_CHARACTERS)


class PullFilter(BaseModel):
    """Which transfers; absent members take all."""

    model_config = _LENIENT

    uri: str | None = Field(default=None, max_length=URI_MAX_CHARACTERS)
    localStreamName: str | None = Field(default=None, max_length=NAME_MAX_CHARACTERS)
    remoteStreamName: str | None = Field(default=None, max_length=NAME_MAX_CHARACTERS)
    localMediaSessionId: str | None = Field(default=None, max_length=NAME_MAX_CHARACTERS)


class EndFilter(BaseModel):
    """Which streams are to end; absent members take all."""

    model_config = _LENIENT

    mediaSessionId: str | None = None
    mediaSessionIds: list[str] | None = Field(default=None, max_length=IDS_MAX)
    name: str | None = None
    published: bool | None = None
    status: str | None = None


def transfer_routes(prefix: str, engine: Engine, may_not_write: Callable[[web.Request], str]) -> list[web.RouteDef]:
    """Return the routes; `may_not_write` says why a request may change nothing, empty when it may."""

    def asking(kind: Literal["pull", "push"]) -> Answer:
        async def begin(request: web.Request) -> web.StreamResponse:
            asked = PullRequest.model_validate_json(await request.read() or b"{}")
            await engine.begin(Wanted(kind, asked.uri, asked.localStreamName, asked.remoteStreamName or ""))
            return web.Response()

        return _writing(begin, may_not_write)

    async def find(request: web.Request) -> web.StreamResponse:
        found = _matching(engine.all(), await _filter(request), may_know=not may_not_write(request))
        if not found:
            return wcs_error(request, 404, "Can not find transfers that match the request")
        return wcs_json([describe_transfer(one) for one in found])

    async def end(request: web.Request) -> web.StreamResponse:
        found = _matching(engine.all(), await _filter(request), may_know=True)
        if not await engine.end(found):
            return wcs_error(request, 404, "Can not find transfers that match the request")
        return web.Response()

    routes = []
    for path in (f"{prefix}/pull{kind}" for kind in ("", "/rtmp", "/rtsp", "/srt")):
        routes += [
            *(
                web.route(method, f"{path}/{name}", _telling(find))
                for name in ("find_all", "find")
                for method in (hdrs.METH_GET, hdrs.METH_POST)
            ),
            web.post(f"{path}/terminate", _writing(end, may_not_write)),
            web.post(f"{path}/push", asking("push")),
            web.post(f"{path}/pull", asking("pull")),
        ]
    return routes


def end_route(prefix: str, registry: Registry, describe: Describe, may_not_write: Refusal) -> web.RouteDef:
    """Return the route that ends streams whose sources were asked for."""

    async def end(request: web.Request) -> web.StreamResponse:
        wanted = EndFilter.model_validate_json(await request.read() or b"{}")
        ended = 0
        try:
            for name in _ending(registry.streams.values(), wanted, describe):
                ended += await registry.drop_desired(DesiredKey(DesiredKind.SOURCE, name))
        except StoreAway as error:
            raise Refused(503, f"The store does not answer: {error}") from None
        if not ended:
            return wcs_error(request, 404, "Can not find streams that match the request and can be ended here")
        return web.Response()

    return web.post(f"{prefix}/stream/terminate", _writing(end, may_not_write))


Describe = Callable[[StreamRecord], dict[str, Any]]
Refusal = Callable[[web.Request], str]


def describe_transfer(transfer: Transfer) -> dict[str, Any]:
    """Return a transfer as WCS describes it."""
    return {
        "localMediaSessionId": transfer.local_session,
        "remoteMediaSessionId": transfer.remote_session or None,
        "localStreamName": transfer.local_name,
        "remoteStreamName": transfer.remote_name,
        "uri": str(transfer.uri),
        "status": transfer.status.value,
        "info": transfer.info or None,
    }


def _matching(found: Iterable[Transfer], wanted: PullFilter, *, may_know: bool) -> list[Transfer]:
    """Return what is looked for; who may not know credentials finds by what is shown, whatever ones he tries."""
    shown = _shown(wanted.uri)
    return [
        one
        for one in found
        if (
            wanted.uri in (None, str(one.uri), one.uri.reveal() if not one.uri.is_locked else None)
            if may_know
            else shown in (None, str(one.uri))
        )
        and wanted.localStreamName in (None, one.local_name)
        and wanted.remoteStreamName in (None, one.remote_name)
        and (wanted.localMediaSessionId is None or wanted.localMediaSessionId == one.local_session)
    ]


def _shown(uri: str | None) -> str | None:
    try:
        return None if uri is None else str(Uri(uri))
    except SealError:
        return uri


def _ending(records: Iterable[StreamRecord], wanted: EndFilter, describe: Describe) -> list[StreamName]:
    found = []
    for record in records:
        shown = describe(record)
        if (
            wanted.mediaSessionId in (None, shown["mediaSessionId"])
            and (wanted.mediaSessionIds is None or shown["mediaSessionId"] in wanted.mediaSessionIds)
            and wanted.name in (None, shown["name"])
            and wanted.published in (None, shown["published"])
            and wanted.status in (None, shown["status"])
        ):
            found.append(StreamName(record.stream))
    return found


async def _filter(request: web.Request) -> PullFilter:
    body = await request.read()
    return PullFilter.model_validate_json(body) if body.strip() else PullFilter()


def _telling(answer: Answer) -> Answer:
    """Return `answer` with its faults in WCS's shape."""

    async def told(request: web.Request) -> web.StreamResponse:
        try:
            return await answer(request)
        except ValidationError as error:
            return wcs_error(request, 400, first_fault(error))
        except NotCarried as refused:
            # What the request itself did not show is no mistake in it: WCS has 409 and 500 for that.
            return wcs_error(request, 500 if refused.status == 400 else refused.status, str(refused))
        except Refused as refused:
            field = f"{_FIELDS.get(refused.field, refused.field)}: " if refused.status == 400 and refused.field else ""
            return wcs_error(request, refused.status, field + str(refused))

    return told


def _writing(answer: Answer, may_not_write: Refusal) -> Answer:
    async def allowed(request: web.Request) -> web.StreamResponse:
        if reason := may_not_write(request):
            return wcs_error(request, 403, reason)
        return await answer(request)

    return _telling(allowed)


_FIELDS = {"local_name": "localStreamName", "remote_name": "remoteStreamName"}
