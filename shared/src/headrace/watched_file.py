"""A file that people change while the program runs: read again when it has changed, believed only when it is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, Generic, TypeVar

T = TypeVar("T")

LOOK_SECONDS: Final = 1.0
"""How often it should be looked whether a file has changed: whoever changed it waits for the effect."""


class WatchedFile(Generic[T]):
    """What a file says; what it said last when it was right stays until it is right again.

    Attributes:
        value: what it says.
        problem: a sentence, while the newest text cannot be used; empty while it can.

    Args:
        path: where it is.
        parse: reads its text; a `ValueError` says what is wrong with it, in words without secrets.
        setting: the setting that names the file, told in every problem.

    Raises:
        ValueError: when it cannot be used at the start.
    """

    def __init__(self, path: Path, parse: Callable[[str], T], setting: str) -> None:
        self._path = path
        self._parse = parse
        self._setting = setting
        self._stamp: tuple[int, int, int] | None = None
        self.problem = ""
        self.value = self._read()

    def reload(self) -> bool:
        """Read the file again if it has changed; return whether `value` or `problem` is another one now."""
        before = (self.value, self.problem)
        try:
            if self._stamp == _stamp(self._path):
                return False
            self.value = self._read()
            self.problem = ""
        except OSError as error:
            self._stamp, self.problem = None, f"{self._setting}: {error}"
        except ValueError as error:
            self.problem = str(error)
        return (self.value, self.problem) != before

    def _read(self) -> T:
        try:
            # Before the text, so that a change between the two is seen the next time.
            self._stamp = _stamp(self._path)
            text = self._path.read_text(encoding="utf-8")
        except UnicodeDecodeError:  # whose own words show bytes of the file, which may be a secret
            raise ValueError(f"{self._setting}: {self._path} is not UTF-8") from None
        except OSError as error:
            self._stamp = None  # who may read it changes none of what a stamp is made of
            raise ValueError(f"{self._setting}: {error}") from None
        try:
            return self._parse(text)
        except ValueError as error:
            raise ValueError(f"{self._setting}: {error}") from None


def _stamp(path: Path) -> tuple[int, int, int]:
    """Return what is another after every change; the inode is, where a new file took the place of the old one."""
    found = path.stat()
    return (found.st_mtime_ns, found.st_size, found.st_ino)
