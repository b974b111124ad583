"""What carrying a push out takes, whatever the target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from headrace.registry.transfers import Flow

Tell = Callable[[Flow, str, Mapping[str, str]], None]
"""Tells how it does: in a word, in a sentence for people, and what else others need to know."""


class PushOver(Exception):
    """The push is over as somebody meant it to be; the text says why."""


class PushFailed(Exception):
    """The target was not reached, or takes no more; the text holds no credentials.

    Attributes:
        code: a word for programs.
        is_final: trying again is of no use.
    """

    def __init__(self, code: str, text: str, *, is_final: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.is_final = is_final


class Carrier(Protocol):
    """Carries one push to its target."""

    async def run(self, tell: Tell) -> None:
        """Carry until cancelled.

        Raises:
            PushOver: when it is over.
            PushFailed: when it does not work now.
        """

    def leave(self, *, is_over: bool) -> None:
        """Before `run` is cancelled: is the push over, or does another node go on with it?"""
