"""Pictures for the control API: `/still/{stream}`, for processes of this cluster only."""

from __future__ import annotations

from aiohttp import hdrs, web

from headrace.clock import Clock
from headrace.http.proof import is_of_cluster
from headrace.identifiers import InvalidName, stream_name
from headrace.media.still import WIDTH_MAX, WIDTH_MIN, StillFormat
from headrace.session.stills import NoStill, StillRequest, Stills

FORMATS: dict[str, StillFormat] = {"jpeg": "jpeg", "png": "png"}


class StillDoor:
    """Answers `GET /still/{stream}?format=jpeg|png&width=`; a component, for it ends what is being made.

    Args:
        stills: makes the pictures.
        secret: that the cluster shares. Without one only this machine is answered.
        clock: what proofs are compared with.
    """

    def __init__(self, stills: Stills, secret: str, clock: Clock) -> None:
        self._stills = stills
        self._secret = secret
        self._clock = clock

    async def start(self) -> None:
        """Nothing is begun before somebody asks."""

    async def stop(self) -> None:
        """End what is being made."""
        await self._stills.close()

    async def handle(self, request: web.Request) -> web.Response:
        """Answer a request."""
        if not is_of_cluster(request, self._secret, self._clock.utc()):
            raise web.HTTPForbidden(text="only processes of this cluster are answered")
        try:
            wanted = StillRequest(
                stream_name(request.match_info["stream"]),
                _form(request.query.get("format", "jpeg")),
                _width(request.query.get("width")),
            )
        except (InvalidName, ValueError) as error:
            raise web.HTTPBadRequest(text=str(error)) from None
        try:
            body = await self._stills.take(wanted)
        except NoStill as error:
            retry = {hdrs.RETRY_AFTER: "1"} if error.busy else {}
            status = 503 if error.busy else 404
            return web.Response(status=status, text=str(error), headers={hdrs.CACHE_CONTROL: "no-store", **retry})
        return web.Response(
            body=body, content_type=f"image/{wanted.form}", headers={hdrs.CACHE_CONTROL: "private, max-age=1"}
        )


def _form(name: str) -> StillFormat:
    if name not in FORMATS:
        raise ValueError("format is jpeg or png")
    return FORMATS[name]


def _width(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and WIDTH_MIN <= int(text[:6]) <= WIDTH_MAX):
        raise ValueError(f"width is a number from {WIDTH_MIN} to {WIDTH_MAX}")
    return int(text)
