"""Pictures of streams of this very process, where everything is in one; needs the library's `media`."""

from __future__ import annotations

from dataclasses import dataclass

from headrace.identifiers import StreamName
from headrace.session.stills import NoStill, StillRequest, Stills
from headrace_control_api.pictures import NoPicture, PictureFormat


@dataclass(frozen=True, slots=True)
class OwnPictures:
    """Makes pictures of a hub's streams.

    Attributes:
        stills: makes them.
    """

    stills: Stills

    async def take(self, stream: StreamName, form: PictureFormat, width: int | None) -> bytes:
        try:
            return await self.stills.take(StillRequest(stream, form, width))
        except NoStill as error:
            raise NoPicture(503 if error.busy else 404, f"{error}.") from None

    async def close(self) -> None:
        await self.stills.close()
