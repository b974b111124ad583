"""Having a feed looked at: what a control API asks of an ingress."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from headrace.registry.sealing import Uri

CHECK: Final = "/check"

SECONDS_MAX: Final = 10.0
"""Longest that a feed is looked at for one answer."""

OPEN_SECONDS: Final = 20.0
"""How long it may take besides: a process begins, a camera wakes up, is asked for its tracks, and is silent."""

REQUEST_MAX_BYTES: Final = 16 * 1024


class CheckRequest(msgspec.Struct, frozen=True):
    """What an ingress is asked.

    Attributes:
        uri: where the feed is, sealed for `CHECK`.
        seconds: how long to look.
    """

    uri: str
    seconds: float


class NotChecked(Exception):
    """Nobody looked at the feed; it may be asked for again. The sentence holds no credentials."""


class Checks(Protocol):
    """Has feeds looked at."""

    async def check(self, uri: Uri, seconds: float) -> bytes:
        """Return what was found, as JSON: `problem`, or what `headrace check --json` prints.

        Raises:
            NotChecked: when nobody can look now.
        """
        ...

    async def close(self) -> None:
        """Let go."""
        ...
