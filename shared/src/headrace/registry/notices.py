"""Telling watchers that something changed: soon, together, and whatever one of them does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from headrace.registry.desired import DesiredKey

log = structlog.get_logger(__name__)

Watchers = set[Callable[[], None]]
DesiredWatchers = set[Callable[[frozenset[DesiredKey]], None]]


class Notices:
    """Calls watchers from the event loop, once for all changes that come together.

    Nobody is called before `open` or after `close`.
    """

    def __init__(self) -> None:
        self.watchers: Watchers = set()
        self.desired_watchers: DesiredWatchers = set()
        self._keys: set[DesiredKey] = set()
        self._is_open = False
        self._handle: asyncio.Handle | None = None

    def open(self) -> None:
        """Tell from now on."""
        self._is_open = True

    def close(self) -> None:
        """Tell nothing any more."""
        self._is_open = False
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def changed(self, keys: frozenset[DesiredKey] = frozenset()) -> None:
        """Something changed, or the desired records `keys`."""
        self._keys |= keys
        if self._is_open and self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self._handle = None
        keys, self._keys = frozenset(self._keys), set()
        for told in tuple(self.desired_watchers) if keys else ():
            call(told, keys)
        for watcher in tuple(self.watchers):
            call(watcher)


def call(callback: Callable[..., None], *arguments: Any) -> None:
    """Call what somebody else gave us; its failure is logged and is not ours."""
    try:
        callback(*arguments)
    except Exception:
        log.exception("registry_callback_failed", callback=getattr(callback, "__qualname__", repr(callback)))
