"""What a reader needs of a source: samples in decode order, live, from whatever it is that feeds us.

A source lives in one thread, its reader's: nobody else may touch it, for libav ends the whole process when a container
is closed while another thread reads from it. What may be shared is the event that asks it to stop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

from headrace.media.samples import Sample
from headrace.registry.transfers import FINAL
from headrace.wire.stream import Track
from headrace_ingress.events import Closed, Event, Numbers

Note = Callable[[str], None]
"""Takes a sentence for the log about what is carried otherwise than asked, for example without its audio."""


LATE = "late"
"""The code of what cannot be carried before its parameter sets have come."""


class SourceBroken(Exception):
    """The source cannot be opened, went silent, or sends what cannot be carried; trying again later may help.

    The text is for viewers as well as operators: it neither holds credentials nor says where the source is.

    Attributes:
        code: the reason in a word, for programs.
    """

    def __init__(self, text: str, code: str = "broken") -> None:
        super().__init__(text)
        self.code = code


class SourceEnded(Exception):
    """The source is over as intended: a file that is played once."""


class Source(Protocol):
    """One attempt at a feed: made, opened, read until it raises, closed.

    Attributes:
        tracks: of the samples that `read` returned last; another tuple than before means that a header changed and
            that a new epoch must begin.
        keeps: whether what arrives while nobody reads is kept for the next read, so that the reader may rest.
    """

    tracks: tuple[Track, ...]
    keeps: bool

    def open(self, note: Note) -> None:
        """Connect, and learn the tracks.

        Raises:
            SourceBroken: when that cannot be done.
        """
        ...

    def read(self) -> Sequence[Sample]:
        """Return what came next, blocking until something did or the source was asked to stop.

        Nothing at all means that it was asked to stop, or that what came was of no use.

        Raises:
            SourceBroken: when the source stalled or failed.
            SourceEnded: when it is over.
        """
        ...

    def close(self) -> None:
        """Let go of everything; may be called whatever `open` did."""
        ...


class ChunkSource(ABC):
    """One attempt at a feed as the event loop sees it: chunks come, whoever made them, a reader or another cluster.

    Attributes:
        cpu_seconds: what the attempt has cost of its reader's thread; 0 where there is none.
        waiting_bytes: what was sent here and waits to be read; 0 where that is not known.
    """

    @property
    def cpu_seconds(self) -> float:
        return 0.0

    @property
    def waiting_bytes(self) -> int:
        return 0

    @abstractmethod
    def start(self, numbers: Numbers, deliver: Callable[[list[Event]], None]) -> None:
        """Begin; everything that comes, numbered on from `numbers`, is delivered, and at the end one `Closed`."""

    @abstractmethod
    def stop(self) -> None:
        """Have it end soon; a second call does nothing."""

    def hold(self) -> None:
        """Have it finish its epoch and say `Held`, unless media come at this moment; chunks of others may follow.

        From then on, and from the start where its job says so, it says `Ready` when it has media, and waits. Only what
        readers read can be held.
        """
        raise NotImplementedError

    def go_on(self, numbers: Numbers) -> None:
        """Let one that is `Ready` begin an epoch that goes on from `numbers`."""
        raise NotImplementedError


class RefusedSource(ChunkSource):
    """What may not be fetched from here: it cannot be opened.

    Args:
        reason: why, without credentials.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def start(self, numbers: Numbers, deliver: Callable[[list[Event]], None]) -> None:
        events: list[Event] = [Closed(self._reason, False, numbers, FINAL + "forbidden")]
        asyncio.get_running_loop().call_soon(deliver, events)

    def stop(self) -> None:
        """See `ChunkSource`."""
